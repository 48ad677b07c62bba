package event

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shimward/shimward/internal/testenv"
)

// Whatever is done to the files, the next event can be read, and so can a report of the tampering.
func TestStoreTamperedWith(t *testing.T) {
	testenv.Root(t) // for the device
	for name, test := range map[string]struct {
		tamper func(dir string) error
		want   string
	}{
		"cut": {func(dir string) error { return os.Truncate(filepath.Join(dir, fileCurrent), 10) }, "cut its file short"},
		"forged": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fileCurrent), []byte(strings.Repeat("forged\n", 200)), 0o600)
		}, "wrote into its file"},
		"removed":        {func(dir string) error { return os.Remove(filepath.Join(dir, fileCurrent)) }, "removed or replaced"},
		"folder removed": {os.RemoveAll, "removed or replaced"},
		"pipe":           {inPlaceOf(fileCurrent, pipe), "in the place of " + fileCurrent},
		"device":         {inPlaceOf(fileCurrent, device), "in the place of " + fileCurrent},
		"link":           {inPlaceOf(fileCurrent, link), "in the place of " + fileCurrent},
		"folder":         {inPlaceOf(fileCurrent, folder), "in the place of " + fileCurrent},
		"full folder":    {inPlaceOf(fileCurrent, fullFolder), "in the place of " + fileCurrent},
		"lock a pipe":    {inPlaceOf(fileLock, pipe), "in the place of " + fileLock},
		"lock a folder":  {inPlaceOf(fileLock, fullFolder), "in the place of " + fileLock},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			store := openStore(t, dir, 1<<20)
			appendAll(t, store, notice("a", "before", 0))
			if err := test.tamper(dir); err != nil {
				t.Fatal(err)
			}
			appendAll(t, store, notice("a", "after", time.Second), notice("a", "later", 2*time.Second))
			for _, name := range []string{fileCurrent, fileLock} {
				wantPerm(t, filepath.Join(dir, name), 0o600)
			}
			raw, err := os.ReadFile(filepath.Join(dir, fileCurrent))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{test.want, `"after"`, `"later"`} {
				if strings.Count(string(raw), want) != 1 {
					t.Errorf("not once %q in:\n%s", want, raw)
				}
			}
			if !busy(dir) {
				t.Error("a sweep takes the container for ended")
			}
		})
	}
}

// Things that may be put in a file's place.
func pipe(path string) error { return unix.Mkfifo(path, 0o600) }

func device(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }

func link(path string) error {
	return os.Symlink(filepath.Join(filepath.Dir(path), "..", "elsewhere"), path)
}

func folder(path string) error { return os.Mkdir(path, 0o700) }

func fullFolder(path string) error {
	return errors.Join(folder(path), os.WriteFile(filepath.Join(path, "something"), nil, 0o600))
}

func inPlaceOf(name string, plant func(path string) error) func(dir string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		return errors.Join(os.RemoveAll(path), plant(path))
	}
}

// Whatever is in a file's place when the writer opens the store or makes room is not opened, and
// does not obstruct the writer.
func TestStoreFindsWhatIsNoFile(t *testing.T) {
	testenv.Root(t) // for the device
	for _, name := range storeFiles() {
		for kind, plant := range map[string]func(string) error{"pipe": pipe, "device": device, "link": link, "folder": folder, "full folder": fullFolder} {
			t.Run(name+" "+kind, func(t *testing.T) {
				log := t.TempDir()
				dir := filepath.Join(log, "a")
				if err := errors.Join(os.Mkdir(dir, 0o700), plant(filepath.Join(dir, name))); err != nil {
					t.Fatal(err)
				}
				store := openStore(t, dir, minStore)
				for i := range 300 {
					appendAll(t, store, notice("a", fmt.Sprintf("%d %s", i, strings.Repeat("x", maxMessage/2)), time.Duration(i)*time.Second))
				}
				for _, name := range storeFiles() {
					wantPerm(t, filepath.Join(dir, name), 0o600)
				}
				told := 0
				for _, message := range messages(t, &Reader{Dir: log}) {
					if strings.Contains(message, "in the place of "+name) {
						told++
					}
				}
				if told != 1 {
					t.Errorf("told %d times", told)
				}
				if _, err := os.Lstat(filepath.Join(log, "elsewhere")); err == nil {
					t.Error("made a file through a link")
				}
			})
		}
	}
}

// What is in one container's folder neither blocks a reader nor keeps it from the other folders.
func TestReadWhatIsNoFile(t *testing.T) {
	testenv.Root(t)
	log := t.TempDir()
	good, bad := openStore(t, filepath.Join(log, "good"), 1<<20), filepath.Join(log, "bad")
	appendAll(t, good, notice("good", "1", 0))
	line, err := Line(notice("bad", "2", 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(bad, 0o700), os.WriteFile(filepath.Join(bad, fileCurrent), line, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, plant := range []func(string) error{pipe, device, link, folder} {
		for _, name := range []string{fileFirst, fileOlder} {
			if err := inPlaceOf(name, plant)(bad); err != nil {
				t.Fatal(err)
			}
		}
		wantMessages(t, &Reader{Dir: log}, "1", "2")
	}
	leased, err := os.Open(filepath.Join(bad, fileCurrent))
	if err != nil {
		t.Fatal(err)
	}
	defer leased.Close()
	if _, err := unix.FcntlInt(leased.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	wantMessages(t, &Reader{Dir: log}, "1")
}
