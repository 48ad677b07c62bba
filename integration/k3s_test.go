package integration

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/pelletier/go-toml/v2"
)

// k3s is the directory of a node's containerd config, and does what k3s does there when it starts.
// RKE2 contains k3s's agent and does the same in another directory.
type k3s struct {
	t       *testing.T
	dir     string // of the config
	prefix  string
	engines string
	old     bool // its containerd is 1.7, so it uses only one template
	imports bool // its own templates import a directory, as since k3s-io/k3s#13680
}

const (
	k3sV2 = "config.toml.tmpl"
	k3sV3 = "config-v3.toml.tmpl"
)

func newK3s(t *testing.T, engines string, old, imports bool, templates map[string]string) *k3s {
	t.Helper()
	data := t.TempDir()
	k := &k3s{t: t, dir: filepath.Join(data, "agent/etc/containerd"), prefix: filepath.Join(data, "usr"), engines: engines, old: old, imports: imports}
	bin := filepath.Join(data, "data/current/bin")
	for _, dir := range []string{k.dir, bin} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(k.own(), []byte("version = 1\n[paths]\nrun = '/nonexistent'\n"), 0o600); err != nil { // no containers
		t.Fatal(err)
	}
	// install has to find the containerd that k3s ships.
	if err := os.Symlink(filepath.Join(engines, "containerd"), filepath.Join(bin, "containerd")); err != nil {
		t.Fatal(err)
	}
	for name, text := range templates {
		if err := os.WriteFile(k.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.start()
	return k
}

// own returns the path of shimward's own config.
func (k *k3s) own() string { return k.prefix + ".toml" }

func (k *k3s) path(name string) string { return filepath.Join(k.dir, name) }

// start generates the config as k3s does (pkg/agent/containerd/config.go, writeContainerdConfig;
// pkg/agent/templates, ParseTemplateFromConfig): from the operator's template, in which k3s's own
// template of that version is available as "base", or else from k3s's own template.
func (k *k3s) start() {
	k.t.Helper()
	names := []string{k3sV3, k3sV2}
	if k.old {
		names = names[1:]
	}
	base, text := names[0], []byte(`{{ template "base" . }}`)
	for _, name := range names {
		if own, err := os.ReadFile(k.path(name)); err == nil {
			base, text = name, own
			break
		}
	}
	plain := template.FuncMap{"deschemify": func(address string) string { return strings.TrimPrefix(address, "unix://") }}
	rendered := template.Must(template.New("compiled_template").Funcs(plain).Parse(string(text)))
	template.Must(rendered.New("base").Parse(k.base(base)))
	var out bytes.Buffer
	if err := rendered.Execute(&out, k.data()); err != nil {
		k.t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(out.String()) { // it drops empty lines
		if strings.TrimSpace(line) != "" {
			lines.WriteString(line)
		}
	}
	if err := os.WriteFile(k.path("config.toml"), []byte(lines.String()), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// base returns k3s's own template from its source, if available, or else one from testdata.
func (k *k3s) base(name string) string {
	k.t.Helper()
	source := os.Getenv("SHIMWARD_K3S")
	if source == "" {
		text, err := os.ReadFile(filepath.Join("testdata/k3s", name))
		if err != nil {
			k.t.Fatal(err)
		}
		return string(text)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(source, "pkg/agent/templates/templates.go"), nil, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	constant := map[string]string{k3sV2: "ContainerdConfigTemplate", k3sV3: "ContainerdConfigTemplateV3"}[name]
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, is := n.(*ast.ValueSpec); is && spec.Names[0].Name == constant {
			text, err = strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value) //nolint:forcetypeassert // else it is no template
		}
		return true
	})
	if err != nil || text == "" {
		k.t.Fatalf("%s has no constant %s: %v", source, constant, err)
	}
	if k.imports && !strings.Contains(text, ".d/*.toml") { // the source is from before that change
		text = strings.Replace(text, "\nroot = ", "\nimports = [\"{{ .NodeConfig.Containerd.Template }}/"+strings.TrimSuffix(name, ".tmpl")+".d/*.toml\"]\nroot = ", 1)
	}
	return text
}

// data returns the data with which k3s fills in its templates (templates.ContainerdConfig).
func (k *k3s) data() map[string]any {
	return map[string]any{
		"Program": "k3s", "Imports": k.imports,
		"SystemdCgroup": true, "EnableUnprivileged": true, "NonrootDevices": false,
		"DisableCgroup": false, "IsRunningInUserNS": false, "PrivateRegistryConfig": nil,
		"ExtraRuntimes": map[string]any{"crun": map[string]any{"RuntimeType": "io.containerd.runc.v2", "BinaryName": "/usr/bin/crun"}},
		"NodeConfig": map[string]any{
			"SELinux": false, "NoFlannel": false, "DefaultRuntime": "",
			"Containerd": map[string]any{
				"Address": "unix:///run/k3s/containerd/containerd.sock", "State": "/run/k3s/containerd",
				"Root": "/var/lib/rancher/k3s/agent/containerd", "Opt": "/var/lib/rancher/k3s/agent/containerd",
				"Template": k.dir, "Registry": k.path("certs.d"), "BlockIOConfig": "", "RDTConfig": "",
			},
			"AgentConfig": map[string]any{
				"Snapshotter": "overlayfs", "PauseImage": "rancher/mirrored-pause:3.6", "ImageServiceSocket": "",
				"CNIBinDir": "/var/lib/rancher/k3s/data/cni", "CNIConfDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
			},
		},
	}
}

// shimward runs shimward without --containerd, because it has to find the containerd of k3s.
func (k *k3s) shimward(command string, args ...string) (string, error) {
	k.t.Helper()
	bin := folder(k.t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	args = append([]string{
		command, "--prefix", k.prefix, "--containerd-config", k.path("config.toml"), "--config", k.own(),
	}, args...)
	said, err := exec.CommandContext(testContext(k.t), filepath.Join(bin, "shimward"), args...).CombinedOutput()
	return string(said), err
}

func (k *k3s) must(command string, want ...string) {
	k.t.Helper()
	said, err := k.shimward(command)
	for _, want := range want {
		if err != nil || !strings.Contains(said, want) {
			k.t.Fatalf("shimward %s did not say %q: %v\n%s", command, want, err, said)
		}
	}
}

// dump returns the config as containerd understands it.
func (k *k3s) dump() map[string]any {
	k.t.Helper()
	said, err := exec.CommandContext(testContext(k.t), filepath.Join(k.engines, "containerd"), "--config", k.path("config.toml"), "config", "dump").Output()
	if err != nil {
		k.t.Fatal(err)
	}
	var dump map[string]any
	if err := toml.Unmarshal(said, &dump); err != nil {
		k.t.Fatal(err)
	}
	return dump
}

// takeRuntime removes shimward's runtime, and the file that it came from, from a dump.
func takeRuntime(dump map[string]any) map[string]any {
	inner := func(in map[string]any, key string) map[string]any {
		found, _ := in[key].(map[string]any)
		return found
	}
	var runtime map[string]any
	for _, plugin := range []string{"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"} {
		runtimes := inner(inner(inner(inner(dump, "plugins"), plugin), "containerd"), "runtimes")
		if runtime == nil {
			runtime = inner(runtimes, "shimward")
		}
		delete(runtimes, "shimward")
	}
	var imports []any
	before, _ := dump["imports"].([]any)
	for _, path := range before {
		if path, _ := path.(string); filepath.Base(path) != "shimward.toml" {
			imports = append(imports, path)
		}
	}
	dump["imports"] = imports
	return runtime
}

// files returns everything in the config's directory except for the config.
func (k *k3s) files() map[string]string {
	k.t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(k.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == k.path("config.toml") || path == k.dir {
			return err
		}
		text := []byte("a folder")
		if !entry.IsDir() {
			text, err = os.ReadFile(path)
		}
		files[strings.TrimPrefix(path, k.dir+"/")] = string(text)
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return files
}

// wantInstalled starts k3s, and checks that the config has the runtime next to what it had before.
func (k *k3s) wantInstalled(before map[string]any) {
	k.t.Helper()
	k.start()
	after := k.dump()
	runtime := takeRuntime(after)
	passed, _ := runtime["pod_annotations"].([]any)
	options, _ := runtime["options"].(map[string]any)
	if runtime["runtime_type"] != "io.containerd.shimward.v1" || !reflect.DeepEqual(passed, []any{"shimward.dev/*"}) || options["SystemdCgroup"] != true {
		k.t.Errorf("containerd has the runtime as %v", runtime)
	}
	takeRuntime(before)
	if !reflect.DeepEqual(before, after) {
		k.t.Errorf("containerd's config was\n%v\nand is\n%v", before, after)
	}
}

const (
	another = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.another]\n  runtime_type = 'io.containerd.runc.v2'"
	older   = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.another]\n  runtime_type = 'io.containerd.runc.v2'"
	based   = "# of the operator's\n{{ template \"base\" . }}\n"
)

func TestInstallOnK3s(t *testing.T) {
	for name, test := range map[string]struct {
		imports   bool
		templates map[string]string
		want      string // the file that contains the runtime
	}{
		"no template":                        {false, nil, k3sV3},
		"a template":                         {false, map[string]string{k3sV3: based + another}, k3sV3},
		"a template of its own":              {false, map[string]string{k3sV3: "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n  SystemdCgroup = {{ .SystemdCgroup }}\n[grpc]\n  address = '{{ deschemify .NodeConfig.Containerd.Address }}'\n{{ if .DisableCgroup }}[debug]{{ end -}}"}, k3sV3},
		"a template of nothing more":         {false, map[string]string{k3sV3: "{{ template \"base\" . }}\n\n"}, k3sV3},
		"both templates":                     {false, map[string]string{k3sV3: based + another, k3sV2: based + older}, k3sV3},
		"a template of version 2":            {false, map[string]string{k3sV2: based + older}, k3sV2},
		"imports":                            {true, nil, "config-v3.toml.d/shimward.toml"},
		"imports and a template":             {true, map[string]string{k3sV3: based + another}, "config-v3.toml.d/shimward.toml"},
		"imports and version 2":              {true, map[string]string{k3sV2: based + older}, "config.toml.d/shimward.toml"},
		"imports that are not in a template": {true, map[string]string{k3sV3: "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n  SystemdCgroup = true\n"}, k3sV3},
	} {
		t.Run(name, func(t *testing.T) {
			installOnK3s(t, newK3s(t, engines(t), false, test.imports, test.templates), test.want)
		})
	}
}

// TestCompatInstallOnK3s: 1.7 only has the older template, and what it imports replaces runtimes.
func TestCompatInstallOnK3s(t *testing.T) {
	for name, test := range map[string]struct {
		imports   bool
		templates map[string]string
	}{
		"no template":       {false, nil},
		"a template":        {false, map[string]string{k3sV2: based + older}},
		"imports":           {true, nil},
		"one of the future": {false, map[string]string{k3sV3: based}},
	} {
		t.Run(name, func(t *testing.T) {
			engines := folder(t, "SHIMWARD_ENGINES_1_7", "containerd of each series (make test-compat)", "", "containerd")
			installOnK3s(t, newK3s(t, engines, true, test.imports, test.templates), k3sV2)
		})
	}
}

// TestCompatInstallOnK3sRefuses: in 1.7, a runtime in the config replaces the default runtimes.
func TestCompatInstallOnK3sRefuses(t *testing.T) {
	engines := folder(t, "SHIMWARD_ENGINES_1_7", "containerd of each series (make test-compat)", "", "containerd")
	k := newK3s(t, engines, true, false, map[string]string{k3sV2: "version = 2\n"})
	files := k.files()
	if said, err := k.shimward("install"); err == nil || !strings.Contains(said, "by hand") {
		t.Errorf("it was not refused: %v\n%s", err, said)
	}
	if left := k.files(); !reflect.DeepEqual(left, files) {
		t.Errorf("of %q was left %q", files, left)
	}
}

func installOnK3s(t *testing.T, k *k3s, want string) {
	t.Helper()
	before, files := k.dump(), k.files()

	if said, err := k.shimward("install", "--dry-run"); err != nil || !strings.Contains(said, "would: write the runtime") || !reflect.DeepEqual(k.files(), files) {
		t.Errorf("a dry run: %v\n%s", err, said)
	}
	k.must("install", want, "restart")
	written := k.files()
	if !strings.Contains(written[want], "io.containerd.shimward.v1") {
		t.Fatalf("the runtime is not in %s: %q", want, written)
	}
	k.must("install", "nothing to do")
	if said, _ := k.shimward("install"); strings.Contains(said, "restart") != strings.HasSuffix(want, ".tmpl") {
		t.Errorf("before k3s has started again: %s", said)
	}
	k.wantInstalled(before)
	k.must("install", "nothing to do")
	if said, _ := k.shimward("install"); strings.Contains(said, "restart") {
		t.Errorf("a restart that there was is asked for: %s", said)
	}
	if now := k.files(); !reflect.DeepEqual(now, written) {
		t.Errorf("a second install made of %q %q", written, now)
	}

	k.must("uninstall", "removed the runtime", "restart")
	if left := k.files(); !reflect.DeepEqual(left, files) {
		t.Errorf("of %q was left %q", files, left)
	}
	k.start()
	if after := k.dump(); takeRuntime(after) != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("containerd's config was\n%v\nand is\n%v", before, after)
	}

	// The operator changes their mind before k3s has started again.
	k.must("install", want)
	k.must("uninstall", "removed the runtime")
	if left := k.files(); !reflect.DeepEqual(left, files) {
		t.Errorf("of %q was left %q", files, left)
	}
}

// TestInstallOnK3sWithTheOtherTemplate adds the template for containerd 2 after shimward's install.
func TestInstallOnK3sWithTheOtherTemplate(t *testing.T) {
	for _, imports := range []bool{false, true} {
		k := newK3s(t, engines(t), false, imports, map[string]string{k3sV2: based + older})
		k.must("install", "wrote the runtime")
		k.start()
		if err := os.WriteFile(k.path(k3sV3), []byte(based+another), 0o600); err != nil {
			t.Fatal(err)
		}
		k.start()
		before, files := k.dump(), map[string]string{k3sV2: based + older, k3sV3: based + another}
		k.must("install", "wrote the runtime")
		k.wantInstalled(before)
		k.must("uninstall", "removed the runtime")
		if left := k.files(); !reflect.DeepEqual(left, files) {
			t.Errorf("of %q was left %q", files, left)
		}
	}
}

// TestInstallOnK3sThatIsInterrupted interrupts install while it asks containerd about the runtime.
func TestInstallOnK3sThatIsInterrupted(t *testing.T) {
	k := newK3s(t, engines(t), false, false, map[string]string{k3sV3: based + another})
	files := k.files()
	brought := filepath.Join(k.dir, "../../../data/current/bin/containerd")
	trial, mode := k.path("config.toml.shimward-trial"), k.prefix+".mode"
	script := "#!/bin/sh\n[ ! -e " + trial + " ] || { stat -c %a " + trial + " >" + mode + "; kill -INT $PPID; exec sleep infinity; }\nexec " + filepath.Join(k.engines, "containerd") + " \"$@\"\n"
	if err := os.Remove(brought); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(brought, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if said, err := k.shimward("install"); err == nil {
		t.Fatalf("SIGINT did not end it:\n%s", said)
	}
	if text, err := os.ReadFile(mode); err != nil || string(text) != "600\n" {
		t.Errorf("the copy that containerd was asked about was for %q to read (%v)", text, err)
	}
	if left := k.files(); !reflect.DeepEqual(left, files) {
		t.Errorf("of %q was left %q", files, left)
	}
	if left, _ := filepath.Glob(filepath.Join(k.prefix, "*", "*")); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}
