package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const docker = "../../deploy/docker"

// secrets returns the variables of .env, each with a value.
func secrets(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docker, "env.example"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			name, value, _ := strings.Cut(line, "=")
			if value != "" {
				t.Errorf("the example has a value for %s, which somebody will use", name)
			}
			all = append(all, name+"=of-the-test")
		}
	}
	return all
}

func loadCompose(t *testing.T, env []string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(docker, "compose.yaml")},
		cli.WithEnv(env), cli.WithInterpolation(true))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(t.Context())
}

// TestCompose checks that Compose accepts the file and refuses it if a secret is missing. The file
// has no secret in it, mounts only files that exist, and pins its images. Only webhooks can be
// published beyond this machine.
func TestCompose(t *testing.T) {
	env := secrets(t)
	project, err := loadCompose(t, env)
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range env {
		name, _, _ := strings.Cut(one, "=")
		if _, err := loadCompose(t, slices.Delete(slices.Clone(env), i, i+1)); err == nil ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if got := project.ServiceNames(); !slices.Equal(slices.Sorted(slices.Values(got)),
		[]string{"deliver", "grafana", "ingest", "postgres", "prometheus", "redis", "worker"}) {
		t.Errorf("the services are %v", got)
	}
	for name, s := range project.Services {
		if !pinned(s.Image) {
			t.Errorf("%s: the image %s has no tag", name, s.Image)
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if info, err := os.Stat(v.Source); err != nil || info.IsDir() {
					t.Errorf("%s: %s is mounted, and is no file: %v", name, v.Source, err)
				}
				if !v.ReadOnly {
					t.Errorf("%s may write %s", name, v.Source)
				}
			}
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q", name, p.Published, p.HostIP)
			}
		}
		if back := s.Networks; (name == "redis" || name == "postgres") &&
			(len(s.Ports) > 0 || len(back) != 1) {
			t.Errorf("%s is reached from elsewhere", name)
		}
		if build := s.Build; build != nil {
			if _, err := os.Stat(filepath.Join(build.Context, build.Dockerfile)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(build.Context, "go.mod")); err != nil {
				t.Error(err)
			}
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Privileged {
				t.Errorf("%s is not shut off", name)
			}
		}
	}
	if !project.Networks["back"].Internal {
		t.Error("the network of Redis and PostgreSQL has a way out")
	}
	// A setting publishes webhooks to other machines.
	project, err = loadCompose(t, append(env, "HOOKGATE_PUBLISH=8080"))
	if err != nil || project.Services["ingest"].Ports[0].HostIP != "" {
		t.Errorf("the ports are %+v (error %v)", project.Services["ingest"].Ports, err)
	}
}

// TestDockerfile checks that BuildKit parses every instruction, that stages have the names that
// others use, and that base images are pinned.
func TestDockerfile(t *testing.T) {
	f, err := os.Open(filepath.Join(docker, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		t.Errorf("%s %s", w.Short, w.Detail)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	has := map[string]bool{}
	for i, stage := range stages {
		if stage.BaseName != "scratch" && !pinned(stage.BaseName) {
			t.Errorf("the base %s has no tag", stage.BaseName)
		}
		for _, c := range stage.Commands {
			if i == len(stages)-1 {
				has[strings.ToLower(c.Name())] = true
			}
			switch c := c.(type) {
			case *instructions.CopyCommand:
				if c.From != "" && !names[c.From] {
					t.Errorf("%v copies from a stage that is not there", c)
				}
			case *instructions.HealthCheckCommand:
				if c.Health == nil || len(c.Health.Test) < 2 || c.Health.Test[0] != "CMD" { // the image has no shell
					t.Errorf("the health check is %+v", c.Health)
				}
			case *instructions.UserCommand:
				if strings.HasPrefix(c.User, "0") || strings.HasPrefix(c.User, "root") {
					t.Errorf("the user is %s", c.User)
				}
			}
		}
		names[stage.Name] = true
	}
	for _, name := range []string{"copy", "user", "volume", "expose", "healthcheck", "entrypoint",
		"cmd"} {
		if !has[name] {
			t.Errorf("the image has no %s", name)
		}
	}
}

// TestIgnored checks that Docker gets the files that the build needs, and none of the others.
func TestIgnored(t *testing.T) {
	f, err := os.Open(filepath.Join(docker, "Dockerfile.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", "-json=Dir,GoFiles,EmbedFiles,OtherFiles,Module",
		"./cmd/hookgate")
	list.Dir, list.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.mod", "go.sum"}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir                             string
			GoFiles, EmbedFiles, OtherFiles []string
			Module                          *struct{ Main bool }
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, file := range slices.Concat(p.GoFiles, p.EmbedFiles, p.OtherFiles) {
			path, err := filepath.Rel(root, filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			needed = append(needed, path)
		}
	}
	if len(needed) < 100 {
		t.Fatalf("only %d files are needed", len(needed))
	}
	check := func(path string, want bool) {
		t.Helper()
		if got, err := ignored.MatchesOrParentMatches(path); err != nil || got != want {
			t.Errorf("%s is ignored: %t (error %v)", path, got, err)
		}
	}
	for _, path := range needed {
		check(path, false)
	}
	for _, path := range []string{".git/config", "data/keys/admin_token", ".cache/promtool/promtool",
		"bin/hookgate", "deploy/docker/.env", ".env", "x/prod.env"} {
		check(path, true)
	}
}
