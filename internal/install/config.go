package install

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	runtimeName = "shimward"
	runtimeType = "io.containerd.shimward.v1"
	annotations = "shimward.dev/*"

	blockBegin = "# BEGIN shimward (written by `shimward install`, removed by `shimward uninstall`)\n"
	blockEnd   = "# END shimward\n"
)

// criPlugins are the names of the plugin that holds the runtimes: in config versions 3 and 4, and
// in version 2.
var criPlugins = []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"}

// configVersion reads the version of a root file. containerd takes a file without one for version
// 1, whose plugins have other names.
func configVersion(text []byte) (int, error) {
	var root struct {
		Version int `toml:"version"`
	}
	if err := toml.Unmarshal(text, &root); err != nil {
		return 0, fmt.Errorf("not valid TOML, fix it first: %w", err)
	}
	return root.Version, checkVersion(root.Version)
}

func checkVersion(version int) error {
	if version < 2 || version > 4 {
		return fmt.Errorf("config version %d is not known to shimward, only 2, 3 and 4 are (without a version it is 1): see `containerd config migrate`", version)
	}
	return nil
}

// runtimeTable returns shimward's runtime as TOML for this config version, with runc's options.
func runtimeTable(version int, options map[string]any) string {
	plugin := criPlugins[0]
	if version == 2 {
		plugin = criPlugins[1]
	}
	name := fmt.Sprintf("plugins.%q.containerd.runtimes.%s", plugin, runtimeName)
	text := fmt.Sprintf("[%s]\n  runtime_type = %q\n  pod_annotations = [%q]\n", name, runtimeType, annotations)
	if len(options) == 0 {
		return text
	}
	text += fmt.Sprintf("  [%s.options]\n", name)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		value := fmt.Sprint(options[key])
		if s, is := options[key].(string); is {
			value = quoted(s)
		}
		text += fmt.Sprintf("    %s = %s\n", key, value)
	}
	return text
}

// quoted returns s as a TOML basic string, which has the same escapes as JSON. It escapes "{{", so
// that the result contains no template action.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // not of a string
		panic(err)
	}
	return strings.ReplaceAll(string(text), "{{", `{\u007b`)
}

// dropIn returns the whole text of a file that a root file of this version imports.
func dropIn(version int, options map[string]any) string {
	return blockBegin + fmt.Sprintf("version = %d\n", version) + runtimeTable(version, options) + blockEnd
}

// withBlock returns the root file's text with shimward's runtime appended, where a new table cannot
// cut into another one. An existing block is replaced.
func withBlock(text string, version int, options map[string]any) (string, error) {
	text, _, err := withoutBlock(text)
	if err != nil {
		return "", err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		// The added newline belongs to the block, and is removed with it.
		return text + "\n" + glued + blockBegin + runtimeTable(version, options) + blockEnd, nil
	}
	return text + blockBegin + runtimeTable(version, options) + blockEnd, nil
}

// glued marks a file that did not end in a newline before the block was added.
const glued = "# (no newline before)\n"

// withoutBlock returns the root file's text without the block, and whether there was one.
func withoutBlock(text string) (string, bool, error) {
	before, rest, found := strings.Cut(text, blockBegin)
	if !found {
		return text, false, nil
	}
	_, after, closed := strings.Cut(rest, blockEnd)
	if !closed {
		return "", false, fmt.Errorf("shimward's block no longer has the line %q: restore it below the block's last line", strings.TrimSpace(blockEnd))
	}
	if strings.Contains(after, blockBegin) {
		return "", false, fmt.Errorf("shimward's block occurs twice: remove one by hand")
	}
	if whole, was := strings.CutSuffix(before, "\n"+glued); was {
		before = whole
		if after != "" { // somebody has added lines since
			before += "\n"
		}
	}
	return before + after, true, nil
}
