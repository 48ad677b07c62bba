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

// Options says what to install, and where things are.
type Options struct {
	Prefix     string    // the folder that has bin and lib
	Config     string    // containerd's root file; "" for that of the installation, or the one that exists
	Containerd string    // containerd's command; "" for the one that the root file is for
	Source     string    // the folder with the binaries to install
	Version    string    // of the binaries
	DryRun     bool      // only say what would be done
	Output     io.Writer // gets a line for each step
	// Guarded returns the containers that shimward has state of. Their hooks run its binaries even
	// if the shim has died.
	Guarded func() ([]string, error)
}

func (o Options) lib() string    { return filepath.Join(o.Prefix, "lib", "shimward") }
func (o Options) record() string { return filepath.Join(o.lib(), "install.json") }

// dropIn returns the file that a root file of this version imports, if it imports any. k3s's own
// templates import a folder that is named after them (k3s-io/k3s#13680, 2026).
func (o Options) dropIn(version int) string {
	folder := filepath.Join(filepath.Dir(o.Config), "conf.d")
	if o.generated() {
		folder = strings.TrimSuffix(o.template(version), ".tmpl") + ".d"
	}
	return filepath.Join(folder, "shimward.toml")
}

// dropIns returns all possible drop-ins. Before install supported k3s, it used conf.d there too.
func (o Options) dropIns() []string {
	return []string{o.dropIn(2), o.dropIn(3), filepath.Join(filepath.Dir(o.Config), "conf.d", "shimward.toml")}
}

func (o Options) say(format string, args ...any) {
	if o.DryRun {
		format = "would: " + format
	}
	_, _ = fmt.Fprintf(o.Output, format+"\n", args...)
}

// Install installs shimward on the node. If containerd has to be restarted for that, restart is its
// Units. On an error the node is as it was before.
func Install(ctx context.Context, o Options) (restart []string, err error) {
	if o.Config, err = o.locate("/"); err != nil {
		return nil, err
	}
	o.Containerd = o.command()
	before, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return nil, fmt.Errorf("containerd does not accept its config as it is, fix it first: %w", err)
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
		return nil, err // it is for the other install to remove the folder
	}
	defer unlock()
	// Undo under the lock: otherwise it could destroy what another install has written.
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
		due, err = adopt(o, s, record) // no earlier install has reported that a restart is due
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
	// If it contains files of others by then, Remove fails and it stays.
	back.add(func() error { _ = os.Remove(path); return nil })
	return nil
}

// lock prevents a second install or uninstall from running at the same time.
func lock(folder string) (func(), error) {
	f, err := os.Open(folder) //nolint:gosec // the installation's own folder
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another install or uninstall is running on %s: %w", folder, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
