package install

import (
	"slices"
	"testing"
)

func mustParse(t *testing.T, text string) dump {
	t.Helper()
	d, err := parseDump([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDifferencesLeaveOnlyOurRuntimeAside(t *testing.T) {
	const runc = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
	before := mustParse(t, "imports = ['/etc/containerd/config.toml']\n"+runc)
	for name, test := range map[string]struct {
		after string
		want  []string
	}{
		"added": {"imports = ['/etc/containerd/config.toml', '/d/shimward.toml']\n" + runc + wantV2, nil},
		// containerd 1.x replaces the whole CRI section by that of a drop-in.
		"replaced": {
			"imports = ['/etc/containerd/config.toml']\n" + wantV2,
			[]string{"plugins.io.containerd.grpc.v1.cri.containerd.runtimes.runc.runtime_type"},
		},
		"a trial of 1.7's": {"imports = ['/etc/containerd/config.toml.trial']\n" + runc + wantV2, nil},
		"another import":   {"imports = ['/etc/containerd/config.toml', '/d/x.toml']\n" + runc + wantV2, []string{"imports"}},
		"another key":      {"imports = ['/etc/containerd/config.toml']\nroot = '/x'\n" + runc + wantV2, []string{"root"}},
	} {
		after := mustParse(t, test.after)
		if got := differences(before, after, "/d/shimward.toml", "/etc/containerd/config.toml", "/etc/containerd/config.toml.trial"); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if !ours(after.runtime()) {
			t.Errorf("%s: the runtime was not found", name)
		}
	}
}
