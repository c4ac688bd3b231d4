package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/knadh/koanf/parsers/yaml"
)

// deployed is a process of the gate as a file in deploy starts it.
type deployed struct {
	name string
	args []string
	env  []string
	// config is the text of the file that HOOKGATE_CONFIG names.
	config string
	// kept is where its volume is that outlives it, lost where one is that does not; empty if there
	// is none.
	kept, lost string
	// grace is the time from the end's announcement until it is killed, without the pause before
	// SIGTERM.
	grace time.Duration
	ports []int
}

// TestDeployedSettings checks that the files in deploy use settings of the gate, and that their
// values make sense: the ports are the ones that are open, the data is on the volume, what can be
// acknowledged alone on a disk is on one that outlives the process, and a process has the time that
// it needs to end.
func TestDeployedSettings(t *testing.T) {
	t.Parallel()
	all := append(composeProcesses(t), kubernetesProcesses(t)...)
	if len(all) != 6 {
		t.Fatalf("there are %d processes", len(all))
	}
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			env := slices.Clone(d.env)
			if i := slices.IndexFunc(env, func(e string) bool {
				return strings.HasPrefix(e, config.Prefix+
					"CONFIG=")
			}); i >= 0 {
				env[i] = config.Prefix + "CONFIG=" + writeConfig(t, d.config)
			}
			cmd := newServeCommand()
			if err := cmd.ParseFlags(d.args[1:]); err != nil || d.args[0] != cmd.Name() {
				t.Fatalf("arguments %v: %v", d.args, err)
			}
			role, _ := cmd.Flags().GetString("role")
			c, err := config.Load(env, map[string]any{"role": role})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains([]string{gate.RoleIngest, gate.RoleWorker, gate.RoleDeliver}, c.Role) {
				t.Errorf("the role is %s", c.Role)
			}
			for _, listen := range []string{c.Listen, c.Admin.Listen} {
				host, port, err := net.SplitHostPort(listen)
				if number, _ := strconv.Atoi(port); err != nil || host != "0.0.0.0" ||
					!slices.Contains(d.ports, number) {
					t.Errorf("it listens on %s, and open are %v", listen, d.ports)
				}
			}
			if dir := c.DataDir; dir != d.kept && dir != d.lost {
				t.Errorf("its data is in %s, and a volume in %s%s", dir, d.kept, d.lost)
			}
			if !c.Spool.Off && c.DataDir != d.kept {
				t.Error("it spools to a disk that does not outlive it")
			}
			if d.grace < c.ShutdownTimeout+30*time.Second {
				t.Errorf("it is killed after %v, with shutdown_timeout %v", d.grace, c.ShutdownTimeout)
			}
			if c.Redis.URL == "" || c.Database.URL == "" || len(c.AdminTokens) == 0 {
				t.Error("a secret is missing")
			}
		})
	}
}

// readYAML reads documents into v's like json does.
func readYAML[T any](t *testing.T, path string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", path))
	must(t, err)
	for _, document := range strings.Split(string(text), "\n---\n") {
		values, err := yaml.Parser().Unmarshal([]byte(document))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := json.Marshal(values)
		must(t, err)
		var v T
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
	return all
}

var composeVariable = regexp.MustCompile(`\$\{([A-Z_]+)[^}]*\}`)

func composeProcesses(t *testing.T) (all []deployed) {
	type service struct {
		Image       string
		Command     any
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Tmpfs       []string
		Grace       string `json:"stop_grace_period"`
	}
	file := readYAML[struct{ Services map[string]service }](t, "docker/compose.yaml")[0]
	// The image's own environment comes first.
	image := dockerfileEnv(t)
	for name, s := range file.Services {
		if !strings.HasPrefix(s.Image, "hookgate:") {
			continue
		}
		// all are open on a network of the file's own
		d := deployed{name: "compose " + name, env: slices.Clone(image), ports: []int{8080, 8081}}
		for _, arg := range s.Command.([]any) {
			d.args = append(d.args, arg.(string))
		}
		for name, value := range s.Environment {
			d.env = append(d.env, name+"="+composeVariable.ReplaceAllString(value, "a-secret-of-the-test"))
		}
		for _, v := range s.Volumes {
			parts := strings.Split(v, ":")
			if len(parts) == 2 {
				d.kept = parts[1]
				continue
			}
			text, err := os.ReadFile(filepath.Join("../../deploy/docker", parts[0]))
			must(t, err)
			d.config = string(text)
		}
		for _, v := range s.Tmpfs {
			d.lost = strings.Split(v, ":")[0]
		}
		for _, p := range s.Ports {
			parts := strings.Split(p, ":")
			if port, err := strconv.Atoi(parts[len(parts)-1]); err != nil ||
				!slices.Contains(d.ports, port) {
				t.Errorf("%s publishes %s", name, p)
			}
		}
		var err error
		d.grace, err = time.ParseDuration(s.Grace)
		must(t, err)
		all = append(all, d)
	}
	return all
}

func kubernetesProcesses(t *testing.T) (all []deployed) {
	type named struct{ Name string }
	type object struct {
		Kind             string
		Metadata         named
		Data, StringData map[string]string
		Spec             struct {
			VolumeClaimTemplates []struct{ Metadata named }
			Template             struct {
				Spec struct {
					Grace      int64 `json:"terminationGracePeriodSeconds"`
					Containers []struct {
						Args    []string
						Env     []struct{ Name, Value string }
						EnvFrom []struct{ ConfigMapRef, SecretRef named }
						Ports   []struct{ ContainerPort int }
						Mounts  []struct{ Name, MountPath string } `json:"volumeMounts"`

						Lifecycle struct {
							PreStop struct{ Sleep struct{ Seconds int64 } }
						}
					}
					Volumes []struct {
						Name      string
						ConfigMap named
						EmptyDir  *struct{}
					}
				}
			}
		}
	}
	data := map[string]map[string]string{}
	for _, path := range []string{"config.yaml", "secret.example.yaml"} {
		for _, o := range readYAML[object](t, "kubernetes/"+path) {
			data[o.Kind+" "+o.Metadata.Name] = o.Data
			if o.StringData != nil {
				data[o.Kind+" "+o.Metadata.Name] = o.StringData
			}
		}
	}
	for _, path := range []string{"ingest.yaml", "worker.yaml", "deliver.yaml"} {
		for _, o := range readYAML[object](t, "kubernetes/"+path) {
			pod := o.Spec.Template.Spec
			if len(pod.Containers) != 1 {
				continue
			}
			c := pod.Containers[0]
			d := deployed{name: o.Kind + " " + o.Metadata.Name, args: c.Args, env: dockerfileEnv(t),
				grace: time.Duration(pod.Grace-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second}
			for _, from := range c.EnvFrom {
				for kind, name := range map[string]string{"ConfigMap": from.ConfigMapRef.Name,
					"Secret": from.SecretRef.Name} {
					values, ok := data[kind+" "+name]
					if name != "" && !ok {
						t.Errorf("%s: there is no %s %s", d.name, kind, name)
					}
					for name, value := range values {
						d.env = append(d.env, name+"="+value)
					}
				}
			}
			for _, e := range c.Env {
				d.env = append(d.env, e.Name+"="+e.Value)
			}
			for _, p := range c.Ports {
				d.ports = append(d.ports, p.ContainerPort)
			}
			mounts := map[string]string{}
			for _, m := range c.Mounts {
				mounts[m.Name] = m.MountPath
			}
			for _, claim := range o.Spec.VolumeClaimTemplates {
				d.kept = mounts[claim.Metadata.Name]
			}
			for _, v := range pod.Volumes {
				if v.EmptyDir != nil {
					d.lost = mounts[v.Name]
				}
				if files := data["ConfigMap "+v.ConfigMap.Name]; v.ConfigMap.Name != "" {
					for name, text := range files {
						if slices.Contains(d.env, config.Prefix+"CONFIG="+mounts[v.Name]+"/"+name) {
							d.config = text
						}
					}
				}
			}
			if d.config == "" {
				t.Errorf("%s: what HOOKGATE_CONFIG names is mounted nowhere", d.name)
			}
			all = append(all, d)
		}
	}
	return all
}
