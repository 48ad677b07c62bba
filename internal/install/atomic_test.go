package install

import (
	"os"
	"path/filepath"
	"testing"
)

// A config with a registry's password in it is not for all to read, and neither is a copy.
func TestCopyHasTheModeOfItsFile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte("password = 'x'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(config, config+".copy", []byte("password = 'x'\n")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(config + ".copy")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v %v", info, err)
	}
}
