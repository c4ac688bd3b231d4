package deploy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// kinds are the objects that a manifest may have, by API version and kind.
var kinds = map[string]func() metav1.Object{
	"v1 Namespace":                           func() metav1.Object { return &corev1.Namespace{} },
	"v1 ConfigMap":                           func() metav1.Object { return &corev1.ConfigMap{} },
	"v1 Secret":                              func() metav1.Object { return &corev1.Secret{} },
	"v1 Service":                             func() metav1.Object { return &corev1.Service{} },
	"apps/v1 Deployment":                     func() metav1.Object { return &appsv1.Deployment{} },
	"apps/v1 StatefulSet":                    func() metav1.Object { return &appsv1.StatefulSet{} },
	"policy/v1 PodDisruptionBudget":          func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"autoscaling/v2 HorizontalPodAutoscaler": func() metav1.Object { return &autoscalingv2.HorizontalPodAutoscaler{} },
	"networking.k8s.io/v1 NetworkPolicy":     func() metav1.Object { return &networkingv1.NetworkPolicy{} },
}

const manifests = "../../deploy/kubernetes"

// readManifest decodes a file into the types of the API. An unknown field is an error, and so is a
// wrong type.
func readManifest(t *testing.T, path string) (all []metav1.Object) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, path))
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		kind, ok := kinds[meta.APIVersion+" "+meta.Kind]
		if !ok {
			t.Fatalf("%s: %s %s is no kind that is known here", path, meta.APIVersion, meta.Kind)
		}
		o := kind()
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			t.Errorf("%s: %s: %v", path, meta.Kind, err)
		}
		if problems := validation.IsDNS1123Label(o.GetName()); len(problems) > 0 {
			t.Errorf("%s: %s %q: %v", path, meta.Kind, o.GetName(), problems)
		}
		all = append(all, o)
	}
	return all
}

// kustomization returns the objects that kubectl apply -k would apply.
func kustomization(t *testing.T) (all []metav1.Object) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Namespace  string `json:"namespace"`
		Labels     []struct {
			Pairs map[string]string `json:"pairs"`
		} `json:"labels"`
		Resources []string `json:"resources"`
		Images    []struct {
			Name    string `json:"name"`
			NewName string `json:"newName"`
			NewTag  string `json:"newTag"`
		} `json:"images"`
	}
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		t.Fatal(err)
	}
	for _, path := range k.Resources {
		for _, o := range readManifest(t, path) {
			if _, is := o.(*corev1.Namespace); !is && o.GetNamespace() != k.Namespace || is &&
				o.GetName() != k.Namespace {
				t.Errorf("%s: %s is in the namespace %q, want %q", path, o.GetName(), o.GetNamespace(),
					k.Namespace)
			}
			all = append(all, o)
		}
	}
	return all
}

// workload is an object that runs pods.
type workload struct {
	kind, name string
	selector   *metav1.LabelSelector
	pod        corev1.PodTemplateSpec
	claims     []corev1.PersistentVolumeClaim
	service    string
	replicas   *int32
}

func workloads(all []metav1.Object) (ws []workload) {
	for _, o := range all {
		switch o := o.(type) {
		case *appsv1.Deployment:
			ws = append(ws, workload{"Deployment", o.Name, o.Spec.Selector, o.Spec.Template, nil, "",
				o.Spec.Replicas})
		case *appsv1.StatefulSet:
			ws = append(ws, workload{"StatefulSet", o.Name, o.Spec.Selector, o.Spec.Template,
				o.Spec.VolumeClaimTemplates, o.Spec.ServiceName, o.Spec.Replicas})
		}
	}
	return ws
}

// TestKubernetes checks that every manifest decodes, and that references resolve: selectors to
// pods, ports to containers, mounts to volumes, autoscalers to workloads. All pods are confined,
// probed and limited, and only one at a time is evicted.
func TestKubernetes(t *testing.T) {
	all := kustomization(t)
	readManifest(t, "secret.example.yaml")
	ws := workloads(all)
	if len(ws) != 3 {
		t.Fatalf("there are %d workloads", len(ws))
	}
	for _, w := range ws {
		t.Run(w.name, func(t *testing.T) { checkWorkload(t, w, all) })
	}
	for _, o := range all {
		switch o := o.(type) {
		case *corev1.Service:
			pods := selected(ws, &metav1.LabelSelector{MatchLabels: o.Spec.Selector})
			if len(pods) == 0 {
				t.Errorf("Service %s selects nothing", o.Name)
			}
			for _, p := range o.Spec.Ports {
				for _, w := range pods {
					if !hasPort(w, p.TargetPort) {
						t.Errorf("Service %s: %s has no port %s", o.Name, w.name, p.TargetPort.String())
					}
				}
			}
		case *networkingv1.NetworkPolicy:
			for _, rule := range o.Spec.Ingress {
				for _, p := range rule.Ports {
					for _, w := range selected(ws, &o.Spec.PodSelector) {
						if !hasPort(w, *p.Port) {
							t.Errorf("NetworkPolicy %s: %s has no port %s", o.Name, w.name, p.Port.String())
						}
					}
				}
			}
			if len(selected(ws, &o.Spec.PodSelector)) != len(ws) {
				t.Errorf("NetworkPolicy %s is not about all", o.Name)
			}
		}
	}
}

func checkWorkload(t *testing.T, w workload, all []metav1.Object) {
	if got := selected([]workload{w}, w.selector); len(got) != 1 {
		t.Error("its selector does not select its pods")
	}
	if w.replicas != nil {
		t.Error("to apply it sets the number of pods, which is the autoscaler's")
	}
	spec := w.pod.Spec
	s := spec.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil ||
		*s.RunAsUser == 0 || s.SeccompProfile == nil ||
		s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod is not shut off: %+v", s)
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken ||
		spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Error("it has a token of Kubernetes, or its variables")
	}
	if len(spec.Containers) != 1 {
		t.Fatalf("it has %d containers", len(spec.Containers))
	}
	c := spec.Containers[0]
	if !pinned(c.Image) {
		t.Errorf("the image %s has no tag", c.Image)
	}
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil ||
		!*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil ||
		*s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop,
		[]corev1.Capability{"ALL"}) {
		t.Errorf("the container is not shut off: %+v", s)
	}
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe,
		"liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || !hasPort(w, probe.HTTPGet.Port) ||
			probe.HTTPGet.Path != "/livez" && probe.HTTPGet.Path != "/readyz" ||
			// A restart does not help a gate that takes no webhooks now.
			name == "liveness" && probe.HTTPGet.Path != "/livez" {
			t.Errorf("the %s probe is %+v", name, probe)
		}
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() ||
		c.Resources.Limits.Memory().Cmp(*c.Resources.Requests.Memory()) < 0 {
		t.Errorf("the resources are %+v", c.Resources)
	}
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && !exists(all, v.ConfigMap.Name) {
			t.Errorf("there is no ConfigMap %s", v.ConfigMap.Name)
		}
	}
	for _, claim := range w.claims {
		volumes[claim.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("%s is mounted, and is no volume", m.Name)
		}
	}
	if w.service != "" && !exists(all, w.service) {
		t.Errorf("there is no Service %s", w.service)
	}
	for _, spread := range spec.TopologySpreadConstraints {
		if len(selected([]workload{w}, spread.LabelSelector)) != 1 {
			t.Error("it is spread by the labels of something else")
		}
	}
	budgets, scalers := 0, 0
	for _, o := range all {
		switch o := o.(type) {
		case *policyv1.PodDisruptionBudget:
			if len(selected([]workload{w}, o.Spec.Selector)) == 1 {
				budgets++
				if o.Spec.MaxUnavailable == nil || o.Spec.MaxUnavailable.IntValue() != 1 {
					t.Errorf("its budget is %+v", o.Spec)
				}
			}
		case *autoscalingv2.HorizontalPodAutoscaler:
			ref := o.Spec.ScaleTargetRef
			if ref.Kind == w.kind && ref.Name == w.name && ref.APIVersion == "apps/v1" {
				scalers++
				if o.Spec.MinReplicas == nil || *o.Spec.MinReplicas < 2 ||
					o.Spec.MaxReplicas <= *o.Spec.MinReplicas || len(o.Spec.Metrics) == 0 {
					t.Errorf("its autoscaler is %+v", o.Spec)
				}
				// A person decides to remove a process with a spool.
				if down := o.Spec.Behavior.ScaleDown; len(w.claims) > 0 &&
					(down == nil || down.SelectPolicy == nil ||
						*down.SelectPolicy != autoscalingv2.DisabledPolicySelect) {
					t.Error("what has a spool is scaled down by itself")
				}
			}
		}
	}
	if budgets != 1 || scalers != 1 {
		t.Errorf("it has %d disruption budgets and %d autoscalers", budgets, scalers)
	}
}

// selected returns the workloads whose pods a selector selects.
func selected(ws []workload, s *metav1.LabelSelector) (found []workload) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || selector.Empty() {
		return nil
	}
	for _, w := range ws {
		if selector.Matches(labels.Set(w.pod.Labels)) {
			found = append(found, w)
		}
	}
	return found
}

func hasPort(w workload, port intstr.IntOrString) bool {
	return slices.ContainsFunc(w.pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
		return p.Name == port.StrVal && port.Type == intstr.String || p.ContainerPort == port.IntVal &&
			port.Type == intstr.Int
	})
}

func exists(all []metav1.Object, name string) bool {
	return slices.ContainsFunc(all, func(o metav1.Object) bool { return o.GetName() == name })
}

var tag = regexp.MustCompile(`^[a-z0-9./-]+:[A-Za-z0-9._-]+$`)

// pinned reports whether an image has a tag other than latest.
func pinned(image string) bool {
	return tag.MatchString(image) && !strings.HasSuffix(image, ":latest")
}

// TestQueueDepthMetric checks that the rule of the adapter makes the metric that the worker's
// autoscaler uses.
func TestQueueDepthMetric(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(manifests, "prometheus-adapter.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var adapter struct {
		ExternalRules []struct {
			SeriesQuery string `json:"seriesQuery"`
			Resources   struct {
				Namespaced *bool `json:"namespaced"`
			} `json:"resources"`
			Name struct {
				As string `json:"as"`
			} `json:"name"`
			MetricsQuery string `json:"metricsQuery"`
		} `json:"externalRules"`
	}
	if err := yaml.UnmarshalStrict(text, &adapter); err != nil || len(adapter.ExternalRules) != 1 {
		t.Fatalf("%+v (error %v)", adapter, err)
	}
	rule := adapter.ExternalRules[0]
	if !strings.HasPrefix(rule.SeriesQuery, "webhook_queue_depth{") ||
		!strings.HasPrefix(rule.MetricsQuery, "max(") || rule.Resources.Namespaced == nil ||
		*rule.Resources.Namespaced {
		t.Errorf("the rule is %+v", rule)
	}
	wanted := []string{}
	for _, o := range readManifest(t, "worker.yaml") {
		if scaler, is := o.(*autoscalingv2.HorizontalPodAutoscaler); is {
			for _, m := range scaler.Spec.Metrics {
				if m.External == nil || m.External.Target.AverageValue == nil ||
					m.External.Target.AverageValue.Sign() <= 0 {
					t.Errorf("it scales by %+v", m)
					continue
				}
				wanted = append(wanted, m.External.Metric.Name)
			}
		}
	}
	if fmt.Sprint(wanted) != fmt.Sprint([]string{rule.Name.As}) {
		t.Errorf("the autoscaler wants %v, and the rule makes %s", wanted, rule.Name.As)
	}
}
