package install

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// dump is a config as containerd interprets it.
type dump map[string]any

// askDump has containerd read a root file with all its imports, and returns the result.
func askDump(ctx context.Context, containerd, config string) (dump, error) {
	cmd := exec.CommandContext(ctx, containerd, "--config", config, "config", "dump") //nolint:gosec // the operator's containerd
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s --config %s config dump: %w: %s", containerd, config, err, strings.TrimSpace(stderr.String()))
	}
	return parseDump(stdout.Bytes())
}

func parseDump(text []byte) (dump, error) {
	var d dump
	if err := toml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("read the output of `containerd config dump`: %w", err)
	}
	return d, nil
}

func (d dump) version() int {
	version, _ := d["version"].(int64)
	return int(version)
}

// runtime returns the runtime under shimward's name, or nil if there is none.
func (d dump) runtime() map[string]any {
	for _, plugin := range criPlugins {
		if found := table(d, "plugins", plugin, "containerd", "runtimes", runtimeName); found != nil {
			return found
		}
	}
	return nil
}

// runcOptions are the names of those options of runc that the shim accepts.
var runcOptions = []string{
	"BinaryName", "CriuImagePath", "CriuWorkPath", "IoGid", "IoUid", "NoNewKeyring", "NoPivotRoot", "Root", "ShimCgroup", "SystemdCgroup",
}

// runcOptions returns those options that the config sets for the runtime runc. A container under
// shimward is a runc container: for example, if kubelet uses systemd's cgroup driver, every runtime
// that starts runc must tell it so.
func (d dump) runcOptions() map[string]any {
	set := make(map[string]any)
	for _, plugin := range criPlugins {
		for key, value := range table(d, "plugins", plugin, "containerd", "runtimes", "runc", "options") {
			if slices.Contains(runcOptions, key) && !reflect.ValueOf(value).IsZero() {
				set[key] = value
			}
		}
	}
	return set
}

// ours reports whether a runtime is what install would have written.
func ours(runtime map[string]any) bool {
	passed, _ := runtime["pod_annotations"].([]any)
	return runtime["runtime_type"] == runtimeType && slices.Contains(passed, any(annotations))
}

// differences returns the keys in which two configs differ. It ignores shimward's runtime, and the
// given files among the imports: the drop-in, and the root file, which containerd 1.7 lists there
// under the name that it was read by.
func differences(before, after dump, files ...string) []string {
	a, b := flatten(before, files), flatten(after, files)
	var keys []string
	for key, value := range a {
		if other, found := b[key]; !found || !reflect.DeepEqual(value, other) {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, found := a[key]; !found {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

func flatten(d dump, files []string) map[string]any {
	flat := make(map[string]any)
	var walk func(path string, value any)
	walk = func(path string, value any) {
		for _, plugin := range criPlugins {
			if path == "plugins."+plugin+".containerd.runtimes."+runtimeName {
				return
			}
		}
		inner, isTable := value.(map[string]any)
		if !isTable {
			flat[path] = value
			return
		}
		for key, value := range inner {
			walk(strings.TrimPrefix(path+"."+key, "."), value)
		}
	}
	walk("", map[string]any(d))
	if imports, is := flat["imports"].([]any); is {
		flat["imports"] = slices.DeleteFunc(slices.Clone(imports), func(path any) bool {
			text, _ := path.(string)
			return slices.Contains(files, text)
		})
	}
	return flat
}

func table(in map[string]any, path ...string) map[string]any {
	for _, key := range path {
		next, _ := in[key].(map[string]any)
		if next == nil {
			return nil
		}
		in = next
	}
	return in
}
