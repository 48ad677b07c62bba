package install

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestFindConfig(t *testing.T) {
	const own, k3s, rke2 = "etc/containerd/config.toml", "var/lib/rancher/k3s" + generatedConfig, "var/lib/rancher/rke2" + generatedConfig
	for _, test := range []struct {
		there []string
		want  string // "" if refused
	}{
		{nil, own},
		{[]string{own}, own},
		{[]string{k3s}, k3s},
		{[]string{rke2}, rke2},
		{[]string{own, k3s}, own},
		{[]string{k3s, rke2}, ""},
	} {
		root := t.TempDir()
		for _, path := range test.there {
			write(t, filepath.Join(root, path), "")
		}
		got, err := findConfig(root)
		if test.want == "" {
			if err == nil || !strings.Contains(err.Error(), "--containerd-config") {
				t.Errorf("%q: %v", test.there, err)
			}
			continue
		}
		if err != nil || got != filepath.Join(root, test.want) {
			t.Errorf("of %q it is %s (%v)", test.there, got, err)
		}
	}
}

func TestSocketIsTheOneOfTheConfig(t *testing.T) {
	prefix := t.TempDir()
	o := Options{Prefix: prefix}
	write(t, o.record(), "")
	for _, test := range []struct{ config, want string }{
		{"/etc/containerd/config.toml", "/run/containerd/containerd.sock"},
		{filepath.Join(prefix, generatedConfig), "/run/k3s/containerd/containerd.sock"},
	} {
		if isGenerated(test.config) {
			write(t, test.config, "")
		}
		if err := (&Record{Config: test.config, Block: true}).save(o.record()); err != nil {
			t.Fatal(err)
		}
		if got, err := Socket(prefix); err != nil || got != test.want {
			t.Errorf("of %s it is %q (%v)", test.config, got, err)
		}
	}
	write(t, o.record(), "{")
	if got, err := Socket(prefix); err == nil || !strings.Contains(err.Error(), "--address") {
		t.Errorf("without a record that can be read it is %q (%v)", got, err)
	}
}

func TestCommandIsTheOneOfTheConfig(t *testing.T) {
	data := t.TempDir()
	k3s := Options{Config: data + generatedConfig}
	if got, want := k3s.command(), data+"/data/current/bin/containerd"; got != want {
		t.Errorf("k3s's is %s", got)
	}
	write(t, filepath.Join(data, "bin/containerd"), "")
	if got, want := k3s.command(), data+"/bin/containerd"; got != want {
		t.Errorf("RKE2's is %s", got)
	}
	for want, o := range map[string]Options{
		"containerd": {Config: "/etc/containerd/config.toml"},
		"/a/named":   {Config: k3s.Config, Containerd: "/a/named"},
	} {
		if got := o.command(); got != want {
			t.Errorf("%+v: %s", o, got)
		}
	}
}

func TestActiveUnit(t *testing.T) {
	systemctl := func(args ...string) (int, error) {
		if args[len(args)-1] == "rke2-agent" {
			return 0, nil
		}
		return 3, nil
	}
	none := func(...string) (int, error) { return 3, nil }
	for config, want := range map[string]string{"/etc/containerd/config.toml": "containerd", "/data" + generatedConfig: "rke2-agent"} {
		if got, err := Active(Units(config), systemctl); err != nil || got != want {
			t.Errorf("%s: %s (%v)", config, got, err)
		}
	}
	if unit, err := Active(Units("/data"+generatedConfig), none); err == nil {
		t.Errorf("none is active, and yet %s", unit)
	}
}

// Install must refuse if the result of the next start of k3s is unknown, or differs from what
// containerd was asked about.
func TestInstallRefusesWhatK3sWillChange(t *testing.T) {
	const base, older = "version = 3\n", "version = 2\n"
	const made = base + "# BEGIN\n" + wantV3
	for name, test := range map[string]struct {
		containerd int // the config version that containerd reports
		config     string
		v3, v2     string // the templates
		later      bool   // the templates were changed after the config was made
		want       string
	}{
		"no config":                            {3, "", "", "", false, "start k3s"},
		"a template of version 2 is new":       {3, base, "", includeBase, false, "not generated from"},
		"the template of version 2 is gone":    {3, older, "", "", false, "not generated from"},
		"a template of version 3 is new":       {3, older, includeBase, includeBase, false, "not generated from"},
		"the template has changed":             {3, base, includeBase + "# more", "", true, "was changed after"},
		"a template in the other's place":      {3, base, "", "version = 3\n", false, "rename that template to config-v3.toml.tmpl"},
		"the template cannot be read":          {3, base, "{{ if .X }}", "", false, "fix it first"},
		"the template has a damaged block":     {3, base, includeBase + blockBegin, "", false, "restore it"},
		"a runtime that the template had":      {3, made, includeBase, "", false, "no longer in"},
		"a runtime that the template was":      {3, made, "", "", false, "no longer in"},
		"the runtime did not come":             {3, base, includeBase + blockBegin + wantV3 + blockEnd, "", false, "does not contain it"},
		"the template's end is in a comment":   {3, base, includeBase + "{{/* ", "", false, "fix it first"},
		"1.7 has no template of version 3":     {2, older, "{{ if .X }}", includeBase, true, "was changed after"},
		"the config has no version, as of 1.6": {2, "root = '/x'\n", "", "", false, "config version 0"},
	} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			o := Options{
				Prefix: filepath.Join(data, "usr"), Config: data + generatedConfig, Containerd: filepath.Join(data, "containerd"),
				Source: data, Version: "1", Output: io.Discard,
			}
			// This containerd dumps its config as it is, except for the version.
			write(t, o.Containerd, "#!/bin/sh\ngrep -v ^version \"$2\"\necho version = "+map[int]string{2: "2", 3: "3"}[test.containerd]+"\n")
			texts := map[string]string{o.Config: test.config, o.template(3): test.v3, o.template(2): test.v2}
			for path, text := range texts {
				if text == "" {
					continue
				}
				write(t, path, text)
				at := time.Now()
				if path == o.Config && test.later || path != o.Config && !test.later {
					at = at.Add(-time.Hour)
				}
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it was not refused with %q: %v", test.want, err)
			}
			for path, text := range texts {
				if left, _ := os.ReadFile(path); string(left) != text {
					t.Errorf("of %q was left %q", text, left)
				}
			}
			if exists(o.Prefix) {
				t.Error("it left a prefix")
			}
		})
	}
}

// A record names what is removed as root, so it must not name other files.
func TestRecordThatNamesAnothersFileIsRefused(t *testing.T) {
	data := t.TempDir()
	another := filepath.Join(data, "another")
	write(t, another, blockBegin+blockEnd)
	for name, record := range map[string]Record{
		"drop-in":                              {Config: data + generatedConfig, DropIn: another},
		"template":                             {Config: data + generatedConfig, Template: another},
		"a template of a config that has none": {Config: filepath.Join(data, "config.toml"), Template: filepath.Join(data, "config.toml.tmpl")},
	} {
		o := Options{Prefix: filepath.Join(t.TempDir(), "usr"), Config: record.Config, Containerd: "true", Output: io.Discard}
		write(t, o.record(), "")
		if err := record.save(o.record()); err != nil {
			t.Fatal(err)
		}
		if _, err := Uninstall(t.Context(), o); err == nil || !strings.Contains(err.Error(), "does not belong to the installation") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !exists(another) {
		t.Error("it was removed")
	}
}

// A template action in one of the config's paths must not become an action in the template.
func TestBlockIsNoTemplate(t *testing.T) {
	text, err := withBlock(includeBase, 3, map[string]any{"BinaryName": "/opt/{{{ .NodeConfig.Token }}"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.TrimPrefix(text, includeBase), "{{") {
		t.Errorf("the block has an action: %s", text)
	}
	got, err := parseDump([]byte(strings.TrimPrefix(text, includeBase)))
	if err != nil {
		t.Fatal(err)
	}
	if options, _ := got.runtime()["options"].(map[string]any); options["BinaryName"] != "/opt/{{{ .NodeConfig.Token }}" {
		t.Errorf("it is %v", options)
	}
}
