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

// criPlugins are the names of the plugin that has the runtimes: of versions 3 and 4, and of version 2.
var criPlugins = []string{"io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"}

// configVersion reads the version of a root file. Without one containerd takes
// it for version 1, whose plugins have other names.
func configVersion(text []byte) (int, error) {
	var root struct {
		Version int `toml:"version"`
	}
	if err := toml.Unmarshal(text, &root); err != nil {
		return 0, fmt.Errorf("not valid TOML, mend it first: %w", err)
	}
	return root.Version, checkVersion(root.Version)
}

func checkVersion(version int) error {
	if version < 2 || version > 4 {
		return fmt.Errorf("config version %d is not known to shimward, only 2, 3 and 4 are (without a version it is 1): see `containerd config migrate`", version)
	}
	return nil
}

// runtimeTable is shimward's runtime in a config of this version, with runc's options.
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

// quoted is a basic string of TOML, whose escapes JSON's are, with no action for a
// template in it.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // not of a string
		panic(err)
	}
	return strings.ReplaceAll(string(text), "{{", `{\u007b`)
}

// dropIn is a whole file that a root file of this version imports.
func dropIn(version int, options map[string]any) string {
	return blockBegin + fmt.Sprintf("version = %d\n", version) + runtimeTable(version, options) + blockEnd
}

// withBlock is the root file with shimward's runtime at its end, where a table
// ends no other. An older block is replaced.
func withBlock(text string, version int, options map[string]any) (string, error) {
	text, _, err := withoutBlock(text)
	if err != nil {
		return "", err
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		// The newline that is added belongs to the block, and goes with it.
		return text + "\n" + glued + blockBegin + runtimeTable(version, options) + blockEnd, nil
	}
	return text + blockBegin + runtimeTable(version, options) + blockEnd, nil
}

// glued says that the file did not end in a newline before the block was added.
const glued = "# (no newline before)\n"

// withoutBlock is the root file as it was, and whether there was a block.
func withoutBlock(text string) (string, bool, error) {
	before, rest, found := strings.Cut(text, blockBegin)
	if !found {
		return text, false, nil
	}
	_, after, closed := strings.Cut(rest, blockEnd)
	if !closed {
		return "", false, fmt.Errorf("shimward's block has no line %q any more: put it back below the block's last line", strings.TrimSpace(blockEnd))
	}
	if strings.Contains(after, blockBegin) {
		return "", false, fmt.Errorf("shimward's block is there twice: remove one by hand")
	}
	if whole, was := strings.CutSuffix(before, "\n"+glued); was {
		before = whole
		if after != "" { // somebody has added lines since
			before += "\n"
		}
	}
	return before + after, true, nil
}
