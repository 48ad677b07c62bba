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
	"strings"

	"golang.org/x/sys/unix"
)

// Options says where things are.
type Options struct {
	Prefix     string    // has bin and lib
	Config     string    // containerd's root file; empty: the installation's, or the one that is there
	Containerd string    // the command; empty: the one that the root file is for
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

// dropIn is the file that a root file of this version imports, if it does. k3s's own
// templates import a folder that is named after them (k3s-io/k3s#13680, 2026).
func (o Options) dropIn(version int) string {
	folder := filepath.Join(filepath.Dir(o.Config), "conf.d")
	if o.generated() {
		folder = strings.TrimSuffix(o.template(version), ".tmpl") + ".d"
	}
	return filepath.Join(folder, "shimward.toml")
}

// dropIns are all that there may be: before it knew k3s, install had conf.d there, too.
func (o Options) dropIns() []string {
	return []string{o.dropIn(2), o.dropIn(3), filepath.Join(filepath.Dir(o.Config), "conf.d", "shimward.toml")}
}

func (o Options) say(format string, args ...any) {
	if o.DryRun {
		format = "would: " + format
	}
	_, _ = fmt.Fprintf(o.Output, format+"\n", args...)
}

// Install brings the node to where shimward is installed. Where containerd has to be
// restarted for that, restart has its Units. On an error the node is as it was.
func Install(ctx context.Context, o Options) (restart []string, err error) {
	if o.Config, err = o.locate("/"); err != nil {
		return nil, err
	}
	o.Containerd = o.command()
	before, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return nil, fmt.Errorf("containerd does not take its config as it is, mend it first: %w", err)
	}
	s, err := inspect(o, before)
	if err != nil {
		return nil, err
	}
	files, err := readBinaries(o.Source)
	if err != nil {
		return nil, err
	}
	if err := checkLinks(o); err != nil {
		return nil, err
	}
	if o.DryRun {
		preview(o, s, files)
		return nil, nil
	}

	var back undo
	if err := makeFolder(o.lib(), &back); err != nil {
		return nil, err
	}
	unlock, err := lock(o.lib())
	if err != nil {
		return nil, err // the folder is another's to remove
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
		return nil, err
	}
	if record.Config != "" && record.Config != o.Config && record.written() {
		return nil, fmt.Errorf("shimward is installed in %s already: uninstall it from there first", record.Config)
	}
	if err := checkOwned(o, record); err != nil {
		return nil, err
	}
	putBack, err := restore(o.record())
	if err != nil {
		return nil, err
	}
	back.add(putBack)
	changed, err := placeBinaries(o, files, record, &back)
	if err != nil {
		return nil, err
	}
	due := s.state != configured
	switch {
	case s.state == missing:
		err = configure(ctx, o, before, s, record, &back)
	case !record.written():
		due, err = adopt(o, s, record) // nobody has said yet that it is
	}
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !changed && s.state != missing {
		o.say("shimward %s is installed already, nothing to do", o.Version)
	}
	if !due {
		return nil, nil
	}
	return Units(o.Config), nil
}

func preview(o Options, s site, files []binary) {
	nothing := s.state != missing
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
	if s.state == missing {
		o.say("write the runtime to %s or, if containerd does not merge that, to the end of %s", o.dropIn(s.version), s.edited)
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
