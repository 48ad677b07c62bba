package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestServed(t *testing.T) {
	dir := t.TempDir()
	folder, linked, other, links := filepath.Join(dir, "lib"), filepath.Join(dir, "linked"), filepath.Join(dir, "other"), filepath.Join(dir, "bin")
	for _, one := range []string{folder, other, links} {
		if err := os.Mkdir(one, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	shim := filepath.Join(folder, "shim")
	for _, one := range []string{shim, filepath.Join(other, "shim")} {
		if err := os.WriteFile(one, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(folder, linked), os.Symlink(shim, filepath.Join(links, "shim"))); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path, comm, environ, exe string
		want                     bool
	}{
		"in this PATH":              {path: "/nowhere:" + folder, want: true},
		"in this PATH, by a link":   {path: linked, want: true},
		"a link to it":              {path: links, want: true}, // as install creates it
		"in no PATH":                {path: other, comm: "containerd\n", environ: "A=b\x00PATH=" + other + "\x00", exe: filepath.Join(other, "containerd")},
		"in containerd's PATH":      {path: other, comm: "containerd\n", environ: "A=b\x00PATH=/nowhere:" + folder + "\x00", want: true},
		"beside containerd":         {path: other, comm: "containerd\n", environ: "A=b\x00", exe: filepath.Join(folder, "containerd"), want: true},
		"in another process's PATH": {path: other, comm: "bash\n", environ: "PATH=" + folder + "\x00", exe: filepath.Join(folder, "bash")},
		"in no PATH, of none":       {},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			process := filepath.Join(proc, "7")
			if err := os.Mkdir(process, 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"comm": test.comm, "environ": test.environ} {
				if err := os.WriteFile(filepath.Join(process, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(test.exe, filepath.Join(process, "exe")); err != nil && test.exe != "" {
				t.Fatal(err)
			}
			if got := served(shim, test.path, proc); got != test.want {
				t.Errorf("served is %t", got)
			}
		})
	}
}
