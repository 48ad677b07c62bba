package install

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newNode sets up a k3s node, with a containerd that dumps its config as it is.
func newNode(t *testing.T, config string) Options {
	t.Helper()
	data := t.TempDir()
	o := Options{
		Prefix: filepath.Join(data, "usr"), Config: data + generatedConfig,
		Source: filepath.Join(data, "source"), Version: "1", Output: io.Discard,
	}
	write(t, o.Config, config)
	write(t, o.command(), "#!/bin/sh\necho version = 3\nsed /^version/d \"$2\"\n")
	for _, name := range binaryNames {
		write(t, filepath.Join(o.Source, name), name)
	}
	return o
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s is %q (%v)", path, text, err)
	}
}

// What is written to a generated config through a link to it is lost too.
func TestInstallThroughALinkToAGeneratedConfig(t *testing.T) {
	o := newNode(t, "version = 3\n")
	generated := o.Config
	o.Config = filepath.Join(t.TempDir(), "config.toml")
	o.Containerd = filepath.Join(filepath.Dir(generated), "../../../data/current/bin/containerd")
	if err := os.Symlink(generated, o.Config); err != nil {
		t.Fatal(err)
	}
	restart, err := Install(t.Context(), o)
	if err != nil || len(restart) < 2 {
		t.Fatal(restart, err)
	}
	o.Config = generated
	holds(t, o.template(3), runtimeType)
}

func TestLocate(t *testing.T) {
	root := t.TempDir()
	own := filepath.Join(root, "etc/containerd/config.toml")
	o := Options{Prefix: filepath.Join(root, "usr")}
	located := func(want string) {
		t.Helper()
		if got, err := o.locate(root); err != nil || got != want {
			t.Errorf("it is %q (%v)", got, err)
		}
	}
	located(own)
	// After an installation, its record decides, whatever else exists.
	installed := filepath.Join(root, "another/config.toml")
	write(t, o.record(), "")
	if err := (&Record{Config: installed, Block: true}).save(o.record()); err != nil {
		t.Fatal(err)
	}
	located(installed)
	for _, data := range []string{"k3s", "rke2"} {
		write(t, filepath.Join(root, "var/lib/rancher", data, generatedConfig), "")
	}
	located(installed)
	o.Config = own
	located(own)
	o.Config = root + generatedConfig
	if got, err := o.locate(root); err == nil || !strings.Contains(err.Error(), "start k3s") {
		t.Errorf("it is %q (%v)", got, err)
	}
}

// The record says which config it was, whatever else exists by now.
func TestUninstallKnowsItsConfig(t *testing.T) {
	o := newNode(t, "version = 3\n")
	if _, err := Install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	template := o.template(3)
	o.Config = ""
	if _, err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if exists(template) || exists(o.lib()) {
		t.Error("it left something")
	}
}

// k3s writes its config when it starts; until then there is only the template.
func TestUninstallWithoutTheGeneratedConfig(t *testing.T) {
	o := newNode(t, "version = 3\n")
	write(t, o.template(3), includeBase)
	aged(t, o.template(3))
	if _, err := Install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(o.Config); err != nil {
		t.Fatal(err)
	}
	if _, err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(o.template(3)); err != nil || string(text) != includeBase {
		t.Errorf("of the template was left %q (%v)", text, err)
	}
}

// An editor has rewritten the template with other line endings, so the block is not recognised.
func TestUninstallSaysWhatItCannotTakeOut(t *testing.T) {
	o := newNode(t, "version = 3\n")
	if _, err := Install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(o.template(3))
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.ReplaceAll(string(text), "\n", "\r\n")
	write(t, o.template(3), edited)
	if _, err := Uninstall(t.Context(), o); err == nil || !strings.Contains(err.Error(), "remove it from there") {
		t.Errorf("it was not refused: %v", err)
	}
	if text, err := os.ReadFile(o.template(3)); err != nil || string(text) != edited || !exists(o.record()) {
		t.Errorf("of the template was left %q (%v)", text, err)
	}
}

// Before install supported k3s, it wrote to conf.d if the operator's template imported that.
func TestRecordOfAnOlderInstallOnK3s(t *testing.T) {
	o := newNode(t, "version = 3\n"+wantV3)
	write(t, o.template(3), includeBase+wantV3)
	old := filepath.Join(filepath.Dir(o.Config), "conf.d/shimward.toml")
	write(t, old, dropIn(3, nil))
	write(t, o.record(), "")
	if err := (&Record{Config: o.Config, DropIn: old, Made: []string{filepath.Dir(old)}}).save(o.record()); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), o); err != nil {
		t.Error(err)
	}
	// This containerd does not merge the drop-in, so it has the runtime from elsewhere.
	write(t, o.Config, "version = 3\n")
	if _, err := Uninstall(t.Context(), o); err != nil {
		t.Error(err)
	}
	if exists(filepath.Dir(old)) {
		t.Error("it left the folder")
	}
}

func aged(t *testing.T, path string) {
	t.Helper()
	at := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// No restart of k3s generates a config that is newer than that.
func TestTemplateOfTheFuture(t *testing.T) {
	o := newNode(t, "version = 3\n")
	write(t, o.template(3), includeBase)
	at := time.Now().Add(time.Hour)
	if err := os.Chtimes(o.template(3), at, at); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "touch it") {
		t.Errorf("it was not refused: %v", err)
	}
}
