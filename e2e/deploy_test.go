package e2e

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"
)

// must ends a test that cannot continue.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dockerfile returns the instructions of the build stage and of the final image, by name.
func dockerfile(t *testing.T) (build, final map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../deploy/docker/Dockerfile")
	must(t, err)
	build, final, err = dockerfileStages(string(text))
	must(t, err)
	return build, final
}

func dockerfileStages(text string) (build, final map[string][]string, err error) {
	var stages []map[string][]string
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		line = strings.TrimSpace(line)
		name, rest, _ := strings.Cut(line, " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name == "FROM" {
			stages = append(stages, map[string][]string{})
		}
		last := stages[len(stages)-1]
		last[name] = append(last[name], strings.TrimSpace(rest))
	}
	if len(stages) != 2 {
		return nil, nil, fmt.Errorf("the Dockerfile has %d stages", len(stages))
	}
	return stages[0], stages[1], nil
}

// imageOutput is the path of the program that the Dockerfile builds.
const imageOutput = "/out/hookgate"

// builtImage runs the build command of the Dockerfile once, with oldVersion, and returns the path
// of the program.
var builtImage = sync.OnceValues(func() (program string, err error) {
	text, err := os.ReadFile("../deploy/docker/Dockerfile")
	if err != nil {
		return "", err
	}
	build, _, err := dockerfileStages(string(text))
	if err != nil {
		return "", err
	}
	program = filepath.Join(filepath.Dir(binary), "image", "hookgate")
	i := slices.IndexFunc(build["RUN"], func(c string) bool { return strings.Contains(c, "go build") })
	if i < 0 || strings.Count(build["RUN"][i], "/out/") != 1 {
		return "", fmt.Errorf("the Dockerfile has no command that builds %s: %q", imageOutput,
			build["RUN"])
	}
	cmd := exec.Command("sh", "-c", strings.Replace(build["RUN"][i], imageOutput, program, 1))
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "VERSION="+oldVersion)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return program, nil
})

func jsonList(t *testing.T, text string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

// TestImage follows the Dockerfile as far as possible without Docker. The build command makes a
// static binary. The binary runs with only the files of the image, as the image's user, who can
// write only to the volume. It takes a webhook, the health check passes, and SIGTERM ends it with
// code 0.
func TestImage(t *testing.T) {
	t.Parallel()
	_, final := dockerfile(t)
	if !slices.Equal(final["FROM"], []string{"scratch"}) {
		t.Fatalf("the image is from %v", final["FROM"])
	}
	root := t.TempDir()
	in := func(path string) string { return filepath.Join(root, filepath.FromSlash(path)) }
	for _, dir := range []string{"/usr/local/bin", "/etc/ssl/certs", "/var/lib"} {
		must(t, os.MkdirAll(in(dir), 0o755))
	}
	entry, data := jsonList(t, final["ENTRYPOINT"][0]), final["VOLUME"][0]
	if !slices.Contains(final["COPY"], "--from=build "+imageOutput+" "+entry[0]) {
		t.Fatalf("%s is not what runs: %q", imageOutput, final["COPY"])
	}
	built, err := builtImage()
	must(t, err)
	must(t, os.Link(built, in(entry[0])))
	binary, err := elf.Open(in(entry[0]))
	must(t, err)
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary is not static: it has %v", p.Type)
		}
	}

	var uid, gid int
	if _, err := fmt.Sscanf(final["USER"][0], "%d:%d", &uid, &gid); err != nil || uid == 0 ||
		gid == 0 {
		t.Fatalf("the user is %q: %v", final["USER"], err)
	}
	if !slices.Contains(final["COPY"], fmt.Sprintf("--from=build --chown=%d:%d /out/data %s", uid, gid,
		data)) {
		t.Errorf("the volume is not its user's: %q", final["COPY"])
	}
	must(t, os.Mkdir(in(data), 0o700))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	listen := listener.Addr().String()
	listener.Close()
	start := func(args ...string) (*exec.Cmd, *output) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(dockerfileEnv(t), envPrefix+"LISTEN="+listen)
		cmd.Dir, cmd.SysProcAttr = "/", confined(t, root, uid, gid)
		out := &output{}
		cmd.Stdout, cmd.Stderr = out, out
		must(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill() })
		return cmd, out
	}
	if os.Getuid() == 0 {
		must(t, os.Chown(in(data), uid, gid))
	} else { // the user inside is the current user, who owns everything
		for _, dir := range []string{"/usr/local/bin", "/etc/ssl/certs", "/var/lib", "/"} {
			must(t, os.Chmod(in(dir), 0o555))
			t.Cleanup(func() { os.Chmod(in(dir), 0o755) })
		}
	}
	serving, out := start(append(entry, jsonList(t, final["CMD"][0])...)...)
	g := &gate{t: t, url: "http://" + listen, dir: in(data), cmd: serving, out: out, logs: out,
		ended: make(chan struct{})}
	go func() { serving.Wait(); close(g.ended) }()
	g.await("it listens", func() bool { return strings.Contains(out.String(), "listens on "+listen) })
	if !strings.Contains(out.String(), "hookgate "+oldVersion) {
		t.Errorf("the version is not in it:\n%s", out)
	}
	_, health, _ := strings.Cut(final["HEALTHCHECK"][0], " CMD ")
	check := func(want int, args ...string) {
		t.Helper()
		cmd, out := start(append(jsonList(t, health), args...)...)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("the health check ends with %d, want %d: %s", code, want, out)
		}
	}
	check(0)
	check(0, "--ready")
	if status, body := g.send(`{"messageId":"m","eventType":"t"}`); status != 202 {
		t.Errorf("a webhook got %d: %s", status, body)
	}
	g.mustRequest(200, "POST", "/admin/maintenance", `{"mode":"read_only"}`)
	check(0)
	check(1, "--ready")
	must(t, serving.Process.Signal(syscall.SIGTERM))
	<-g.ended
	if code := serving.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, out)
	}
	check(1)
}

// confined returns attributes that run a process as another user with one folder as its root.
// Without root it uses a user namespace.
func confined(t *testing.T, root string, uid, gid int) *syscall.SysProcAttr {
	t.Helper()
	// Only folders of the test are above.
	for dir := filepath.Dir(root); dir != filepath.Clean(os.TempDir()) &&
		dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	attr := &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return attr
	}
	attr.Cloneflags = syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getgid(), Size: 1}}
	return attr
}

// TestUnit checks that systemd accepts the unit without warnings and rates its confinement as good.
func TestUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../deploy/systemd/hookgate.service")
	must(t, err)
	// systemd never gives up, and the user exists, so that files can be given to it.
	for _, setting := range []string{"StartLimitIntervalSec=0", "Restart=always", "User=hookgate",
		"DynamicUser=yes"} {
		if !strings.Contains(string(text), "\n"+setting+"\n") {
			t.Errorf("the unit does not have %s", setting)
		}
	}
	unit := filepath.Join(t.TempDir(), "hookgate.service")
	must(t, os.WriteFile(unit, []byte(strings.Replace(string(text),
		"ExecStart=/usr/local/bin/hookgate ", "ExecStart="+binary+" ", 1)), 0o644))
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--no-pager",
		"--offline=true", "--threshold=20", unit}} {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		if err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
		}
	}
}

// TestSecretOfUnit installs the secret file as the example in deploy/README.md does. The service's
// user can read it and nobody else can. Root uses a user and a group that do not exist; others use
// their own.
func TestSecretOfUnit(t *testing.T) {
	const example = "file:/etc/hookgate/github-secret"
	install, err := os.ReadFile("../deploy/README.md")
	must(t, err)
	if !strings.Contains(string(install), example) || !strings.Contains(string(install),
		"install -m 0640 -g hookgate hookgate.yaml github-secret /etc/hookgate/") {
		t.Fatal("deploy/README.md does not have the example any more")
	}
	dir, err := os.MkdirTemp("/tmp", "hookgate-unit")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o750))
	program, err := os.ReadFile(binary)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "hookgate"), program, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "github-secret"), []byte("It's a Secret, to Everybody\n"),
		0o640))
	config := strings.Replace("sources: {github: {kind: github, secrets: ["+example+"]}}",
		"/etc/hookgate", dir, 1)
	must(t, os.WriteFile(filepath.Join(dir, "hookgate.yaml"), []byte(config), 0o640))
	check := func(user, group uint32) ([]byte, error) {
		cmd := exec.Command(filepath.Join(dir, "hookgate"), "sources", "check", "--config",
			filepath.Join(dir, "hookgate.yaml"))
		cmd.Dir, cmd.Env = dir, []string{"HOOKGATE_DATA_DIR=" + filepath.Join(dir, "data")}
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: group}
		}
		return cmd.CombinedOutput()
	}
	const user, group = 54321, 54322
	if os.Geteuid() == 0 {
		for _, name := range []string{"", "github-secret", "hookgate.yaml"} {
			must(t, os.Chown(filepath.Join(dir, name), 0, group))
		}
		if out, err := check(user, user); err == nil {
			t.Errorf("another user reads the secret:\n%s", out)
		}
	}
	if out, err := check(user, group); err != nil || !strings.Contains(string(out), "OK: 2 sources") {
		t.Errorf("the service's user: %v\n%s", err, out)
	}
}

// TestPrometheusConfig checks the Prometheus configuration in deploy. Prometheus accepts it and
// finds the rules where compose.yaml puts them, and the job has the name that the alerts use.
func TestPrometheusConfig(t *testing.T) {
	t.Parallel()
	promtool, err := filepath.Abs("../.cache/promtool/promtool")
	must(t, err)
	rules, err := os.ReadFile("../deploy/prometheus/hookgate.rules.yaml")
	must(t, err)
	for _, path := range []string{"docker/prometheus/prometheus.yml", "kubernetes/prometheus.yaml"} {
		text, err := os.ReadFile("../deploy/" + path)
		must(t, err)
		dir := t.TempDir()
		// Debian's promtool has no Kubernetes support, so the pods are left out of the check.
		text = regexp.MustCompile(`kubernetes_sd_configs:\n +- role: pod\n +namespaces: .*\n`).
			ReplaceAll(text, []byte("static_configs: [{targets: [pod]}]\n"))
		must(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), text, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "hookgate.rules.yaml"), rules, 0o644))
		if out, err := exec.Command(promtool, "check", "config", filepath.Join(dir, "prometheus.yml")).
			CombinedOutput(); err != nil ||
			strings.Contains(path, "docker") && !strings.Contains(string(out), "1 rule files found") {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		config := readYAML[struct {
			Jobs []struct {
				Name string `json:"job_name"`
			} `json:"scrape_configs"`
		}](t, path)[0]
		if len(config.Jobs) != 1 || !strings.Contains(string(rules), `up{job="`+config.Jobs[0].Name+
			`"}`) {
			t.Errorf("%s: the jobs are %+v", path, config.Jobs)
		}
	}
}

func dockerfileEnv(t *testing.T) []string {
	_, final := dockerfile(t)
	return strings.Fields(strings.Join(final["ENV"], " "))
}

// readYAML decodes YAML documents with the JSON names of T.
func readYAML[T any](t *testing.T, path string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../deploy", path))
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
