package install

import (
	"reflect"
	"strings"
	"testing"
)

const (
	wantV2 = `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.shimward]
  runtime_type = "io.containerd.shimward.v1"
  pod_annotations = ["shimward.dev/*"]
`
	wantV3 = `[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.shimward]
  runtime_type = "io.containerd.shimward.v1"
  pod_annotations = ["shimward.dev/*"]
`
)

func TestDropInIsInTheRootFilesVersion(t *testing.T) {
	for version, want := range map[int]string{2: "version = 2\n" + wantV2, 3: "version = 3\n" + wantV3, 4: "version = 4\n" + wantV3} {
		if got := dropIn(version, nil); got != blockBegin+want+blockEnd {
			t.Errorf("version %d:\n%s", version, got)
		}
	}
}

func TestBlockComesAndGoesWithoutATrace(t *testing.T) {
	for _, root := range []string{"", "version = 2\n", "version = 3\n# no newline at the end", "version = 3\n\n[plugins]\n\n"} {
		with, err := withBlock(root, 3, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseDump([]byte(with)); err != nil {
			t.Errorf("%q: %v", with, err)
		}
		again, err := withBlock(with, 3, nil)
		if err != nil || strings.Count(again, blockBegin) != 1 {
			t.Errorf("a second time: %v\n%s", err, again)
		}
		for _, text := range []string{with, again} {
			if got, found, err := withoutBlock(text); err != nil || !found || got != root {
				t.Errorf("of %q was left %q (%v)", root, got, err)
			}
		}
	}
}

func TestDamagedBlockIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no end": "version = 3\n" + blockBegin + wantV3,
		"twice":  blockBegin + blockEnd + blockBegin + blockEnd,
	} {
		if _, _, err := withoutBlock(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestVersionsThatAreNotKnownAreRefused(t *testing.T) {
	for _, text := range []string{"", "version = 1\n", "version = 5\n", "version = \n", "[plugins\n", "version = 'two'\n"} {
		if _, err := configVersion([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// A container under shimward is a runc container, so the config's options for runc apply to it.
func TestOptionsOfRuncAreKept(t *testing.T) {
	for version, plugin := range map[int]string{2: criPlugins[1], 3: criPlugins[0], 4: criPlugins[0]} {
		before, err := parseDump([]byte(`
[plugins.'` + plugin + `'.containerd.runtimes.runc.options]
  BinaryName = "/opt/a \"b\"\\c"
  CriuPath = "/criu"
  IoUid = 0
  NoPivotRoot = false
  Root = ""
  SystemdCgroup = true
`))
		if err != nil {
			t.Fatal(err)
		}
		after, err := parseDump([]byte(dropIn(version, before.runcOptions())))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"BinaryName": `/opt/a "b"\c`, "SystemdCgroup": true}
		if got := after.runtime()["options"]; !reflect.DeepEqual(got, want) {
			t.Errorf("version %d has %v, want %v", version, got, want)
		}
	}
}
