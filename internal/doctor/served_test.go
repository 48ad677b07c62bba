package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestServed(t *testing.T) {
	dir := t.TempDir()
	folder, link, other := filepath.Join(dir, "bin"), filepath.Join(dir, "link"), filepath.Join(dir, "other")
	for _, one := range []string{folder, other} {
		if err := os.Mkdir(one, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path, comm, environ, exe string
		want                     bool
	}{
		"in this PATH":              {path: "/nowhere:" + folder, want: true},
		"in this PATH, by a link":   {path: link, want: true},
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
			if got := served(folder, test.path, proc); got != test.want {
				t.Errorf("served is %t", got)
			}
		})
	}
}
