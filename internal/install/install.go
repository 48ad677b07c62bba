package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Options says where things are.
type Options struct {
	Prefix     string    // has bin and lib
	Config     string    // containerd's root file
	Containerd string    // the command
	Source     string    // the folder with the binaries to install
	Version    string    // of the binaries
	DryRun     bool      // say what there is to do, and leave it
	Output     io.Writer // is told each step
	// Guarded are the containers that shimward has state of. Their hooks run
	// its binaries even where the shim has died.
	Guarded func() ([]string, error)
}

func (o Options) lib() string    { return filepath.Join(o.Prefix, "lib", "shimward") }
func (o Options) record() string { return filepath.Join(o.lib(), "install.json") }
func (o Options) dropIn() string {
	return filepath.Join(filepath.Dir(o.Config), "conf.d", "shimward.toml")
}

func (o Options) say(format string, args ...any) {
	if o.DryRun {
		format = "would: " + format
	}
	_, _ = fmt.Fprintf(o.Output, format+"\n", args...)
}

// Install brings the node to where shimward is installed, and says whether
// containerd has to be restarted for that. On an error the node is as it was.
func Install(ctx context.Context, o Options) (restart bool, err error) {
	before, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return false, fmt.Errorf("containerd does not take its config as it is, mend it first: %w", err)
	}
	state, err := inspect(o, before)
	if err != nil {
		return false, err
	}
	files, err := readBinaries(o.Source)
	if err != nil {
		return false, err
	}
	if err := checkLinks(o); err != nil {
		return false, err
	}
	if o.DryRun {
		preview(o, state, files)
		return false, nil
	}

	var back undo
	if err := makeFolder(o.lib(), &back); err != nil {
		return false, err
	}
	unlock, err := lock(o.lib())
	if err != nil {
		return false, err // the folder is another's to remove
	}
	defer unlock()
	// What is put back is put back under the lock: another install's would be lost.
	defer func() {
		if err != nil {
			err = errors.Join(err, back.run())
		}
	}()
	record, err := loadRecord(o.record())
	if err != nil {
		return false, err
	}
	if record.Config != "" && record.Config != o.Config && (record.Block || record.DropIn != "") {
		return false, fmt.Errorf("shimward is installed in %s already: uninstall it from there first", record.Config)
	}
	putBack, err := restore(o.record())
	if err != nil {
		return false, err
	}
	back.add(putBack)
	changed, err := placeBinaries(o, files, record, &back)
	if err != nil {
		return false, err
	}
	switch {
	case state != configured:
		err = configure(ctx, o, before, record, &back)
	case record.DropIn == "" && !record.Block:
		err = adopt(o, record)
	}
	if err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !changed && state == configured {
		o.say("shimward %s is installed already, nothing to do", o.Version)
	}
	return state != configured, nil
}

func preview(o Options, state configState, files []binary) {
	nothing := state == configured
	folder := folderOf(o, files)
	if _, err := os.Stat(folder); err != nil {
		nothing = false
		o.say("put the binaries in %s", folder)
	}
	links := linkNames()
	for _, name := range slices.Sorted(maps.Keys(links)) {
		if link := linkOf(o, name); !pointsTo(link, filepath.Join(folder, links[name])) {
			nothing = false
			o.say("link %s to them", link)
		}
	}
	if state != configured {
		o.say("write the runtime to %s or, if containerd does not merge that, to the end of %s", o.dropIn(), o.Config)
	}
	if nothing {
		o.say("do nothing: shimward %s is installed already", o.Version)
	}
}

func makeFolder(path string, back *undo) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // binaries and configs are for all to read
		return err
	}
	// With something of another's in it, it stays.
	back.add(func() error { _ = os.Remove(path); return nil })
	return nil
}

// lock keeps a second install or uninstall away.
func lock(folder string) (func(), error) {
	f, err := os.Open(folder) //nolint:gosec // the installation's own folder
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another install or uninstall is at work on %s: %w", folder, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
