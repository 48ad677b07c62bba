package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Uninstall removes what Install wrote. If containerd has to be restarted for that, restart is its
// Units. While anything of shimward is in use, it changes nothing and returns an error that says
// what.
func Uninstall(ctx context.Context, o Options) (restart []string, err error) {
	if _, err := os.Stat(o.record()); errors.Is(err, fs.ErrNotExist) {
		o.say("do nothing: there is no record of an installation in %s", o.lib())
		return nil, nil
	}
	unlock, err := lock(o.lib())
	if err != nil {
		return nil, err
	}
	defer unlock()
	record, err := loadRecord(o.record())
	if err != nil {
		return nil, err
	}
	o.Config = record.Config // where it was installed, whatever is named now
	o.Containerd = o.command()
	if err := checkUnused(o); err != nil {
		return nil, err
	}
	if err := checkOwned(o, record); err != nil {
		return nil, err
	}
	if o.DryRun {
		o.say("remove the runtime from containerd's config, %s and %s", strings.Join(record.Links, ", "), o.lib())
		return nil, nil
	}

	var back undo
	defer func() {
		if err != nil {
			err = errors.Join(err, back.run())
		}
	}()
	restart, err = unconfigure(ctx, o, record, &back)
	if err != nil {
		return nil, err
	}
	if err := removeLinks(o, record, &back); err != nil {
		return nil, err
	}
	// Without the links no new shim can start. One may have started before they were removed.
	if err := errors.Join(ctx.Err(), checkUnused(o)); err != nil {
		return nil, err
	}
	back = nil
	return restart, removeRest(o, record)
}

func checkUnused(o Options) error {
	running, err := users(o.lib())
	if err != nil {
		return err
	}
	if o.Guarded != nil {
		guarded, err := o.Guarded()
		if err != nil {
			return err
		}
		running = append(running, guarded...)
	}
	if len(running) > 0 {
		return fmt.Errorf("shimward is in use, and its containers would be lost without it; delete these first:\n  %s", strings.Join(running, "\n  "))
	}
	return nil
}

// checkOwned refuses a record that names files that install cannot have written: the record is a
// file that may have been edited, and what it names is removed as root.
func checkOwned(o Options, record *Record) error {
	for _, folder := range record.Folders {
		if filepath.Dir(folder) != o.lib() {
			return fmt.Errorf("%s names the folder %s, which does not belong to the installation: fix it", o.record(), folder)
		}
	}
	for _, link := range record.Links {
		if filepath.Dir(link) != filepath.Join(o.Prefix, "bin") {
			return fmt.Errorf("%s names the link %s, which does not belong to the installation: fix it", o.record(), link)
		}
	}
	if record.DropIn != "" && !slices.Contains(o.dropIns(), record.DropIn) {
		return fmt.Errorf("%s names the file %s, which does not belong to the installation: fix it", o.record(), record.DropIn)
	}
	templates := []string{o.template(2), o.template(3)}
	if record.Template != "" && (!o.generated() || !slices.Contains(templates, record.Template)) {
		return fmt.Errorf("%s names the template %s, which does not belong to the installation: fix it", o.record(), record.Template)
	}
	return nil
}

func unconfigure(ctx context.Context, o Options, record *Record, back *undo) ([]string, error) {
	if !record.written() {
		return nil, nil
	}
	if o.generated() && !exists(o.Config) {
		o.say("did not ask containerd: its config no longer exists")
		return nil, removeConfig(record, back)
	}
	before, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return nil, fmt.Errorf("containerd does not accept its config as it is, fix it first: %w", err)
	}
	if err := removeConfig(record, back); err != nil {
		return nil, err
	}
	after, err := askWithout(ctx, o, record)
	switch keys := differences(before, after, append(o.dropIns(), o.Config, o.copied())...); {
	case err != nil:
		return nil, err
	case after == nil: // there is nothing to ask about
	case after.runtime() != nil:
		return nil, fmt.Errorf("containerd also has a runtime called %q that install did not write: remove it first", runtimeName)
	case len(keys) > 0:
		return nil, fmt.Errorf("without shimward's runtime, containerd reads its config differently (%s): the runtime was put back", strings.Join(keys, ", "))
	}
	o.say("removed the runtime from containerd's config")
	return Units(o.Config), nil
}

// askWithout asks containerd about its config without what was removed. A root file generated from
// a template still contains the block, or does not contain it yet; in the latter case askWithout
// returns nil.
func askWithout(ctx context.Context, o Options, record *Record) (dump, error) {
	if record.Template == "" {
		return askDump(ctx, o.Containerd, o.Config)
	}
	root, err := os.ReadFile(o.Config)
	if err != nil {
		return nil, err
	}
	without, found, err := withoutBlock(string(root))
	if err != nil || !found {
		return nil, nil //nolint:nilerr,nilnil // the template may have done anything to its end
	}
	return askCopy(ctx, o, without)
}

// removeConfig removes what install wrote to containerd's config, according to the record.
func removeConfig(record *Record, back *undo) error {
	path := record.place()
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // checkOwned has seen it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	putBack, err := restore(path)
	if err != nil {
		return err
	}
	if path == record.DropIn {
		if !strings.HasPrefix(string(text), blockBegin) || !strings.HasSuffix(string(text), blockEnd) {
			return fmt.Errorf("%s has been edited since it was installed: remove what is not shimward's from it", path)
		}
		back.add(putBack)
		return removeFile(path)
	}
	without, found, err := withoutBlock(string(text))
	if err == nil && !found && strings.Contains(without, runtimeType) && path == record.Template { // for other files, containerd would report it
		err = errors.New("shimward's runtime is no longer between the lines that install wrote: remove it from there")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	back.add(putBack)
	if record.Created && onlyBegun(without) {
		return removeFile(path)
	}
	return replaceFile(path, []byte(without))
}

// onlyBegun reports whether a file that install created contains nothing but its initial content.
func onlyBegun(text string) bool {
	version, rest, _ := strings.Cut(text, "\n")
	return text == includeBase || rest == "" && strings.HasPrefix(version, "version = ")
}

func removeLinks(o Options, record *Record, back *undo) error {
	for _, link := range record.Links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, o.lib()+"/") {
			continue // no longer ours
		}
		back.add(putLinkBack(link))
		if err := removeFile(link); err != nil {
			return err
		}
		o.say("removed %s", link)
	}
	return nil
}

// removeRest removes what no link leads to any more. The record goes last, so that an interrupted
// uninstall can be continued.
func removeRest(o Options, record *Record) error {
	var errs []error
	for _, folder := range record.Folders {
		errs = append(errs, os.RemoveAll(folder))
	}
	if record.Backup != "" && exists(record.edited()) { // otherwise it is the last copy of that file
		errs = append(errs, removeFile(record.edited()+backupSuffix))
	}
	for _, path := range o.dropIns() {
		if folder := filepath.Dir(path); slices.Contains(record.Made, folder) {
			_ = os.Remove(folder) // fails if it is not empty
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := removeFile(o.record()); err != nil {
		return err
	}
	_ = os.Remove(o.lib())
	o.say("removed %s", o.lib())
	return nil
}
