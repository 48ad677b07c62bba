package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Uninstall removes what Install wrote, and says whether containerd has to be
// restarted for that. While anything runs of it, it does nothing and says what.
func Uninstall(ctx context.Context, o Options) (restart bool, err error) {
	if _, err := os.Stat(o.record()); errors.Is(err, fs.ErrNotExist) {
		o.say("do nothing: there is no record of an installation in %s", o.lib())
		return false, nil
	}
	unlock, err := lock(o.lib())
	if err != nil {
		return false, err
	}
	defer unlock()
	record, err := loadRecord(o.record())
	if err != nil {
		return false, err
	}
	if record.Config != "" {
		o.Config = record.Config // where it was installed, whatever is named now
	}
	if err := checkUnused(o); err != nil {
		return false, err
	}
	if err := checkOwned(o, record); err != nil {
		return false, err
	}
	if o.DryRun {
		o.say("remove the runtime from containerd's config, %s and %s", strings.Join(record.Links, ", "), o.lib())
		return false, nil
	}

	var back undo
	defer func() {
		if err != nil {
			err = errors.Join(err, back.run())
		}
	}()
	restart, err = unconfigure(ctx, o, record, &back)
	if err != nil {
		return false, err
	}
	if err := removeLinks(o, record, &back); err != nil {
		return false, err
	}
	// Without links no shim starts any more. One may have before.
	if err := errors.Join(ctx.Err(), checkUnused(o)); err != nil {
		return false, err
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

// checkOwned refuses a record that names what install cannot have written: it
// is a file, and what is removed by it is removed as root.
func checkOwned(o Options, record *Record) error {
	for _, folder := range record.Folders {
		if filepath.Dir(folder) != o.lib() {
			return fmt.Errorf("%s names the folder %s, which is not the installation's: mend it", o.record(), folder)
		}
	}
	for _, link := range record.Links {
		if filepath.Dir(link) != filepath.Join(o.Prefix, "bin") {
			return fmt.Errorf("%s names the link %s, which is not the installation's: mend it", o.record(), link)
		}
	}
	return nil
}

func unconfigure(ctx context.Context, o Options, record *Record, back *undo) (bool, error) {
	if record.DropIn == "" && !record.Block {
		return false, nil
	}
	before, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return false, fmt.Errorf("containerd does not take its config as it is, mend it first: %w", err)
	}
	if err := removeConfig(o, record, back); err != nil {
		return false, err
	}
	after, err := askDump(ctx, o.Containerd, o.Config)
	if err != nil {
		return false, err
	}
	if after.runtime() != nil {
		return false, fmt.Errorf("containerd has a runtime called %q from elsewhere, too: remove it first", runtimeName)
	}
	if keys := differences(before, after, o.dropIn()); len(keys) > 0 {
		return false, fmt.Errorf("without shimward's runtime containerd reads its config otherwise (%s): it was put back", strings.Join(keys, ", "))
	}
	o.say("removed the runtime from containerd's config")
	return true, nil
}

func removeConfig(o Options, record *Record, back *undo) error {
	if record.DropIn != "" {
		text, err := os.ReadFile(o.dropIn())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !strings.HasPrefix(string(text), blockBegin) || !strings.HasSuffix(string(text), blockEnd):
			return fmt.Errorf("%s has been edited since it was installed: remove what is not shimward's from it", o.dropIn())
		}
		back.add(func() error { return replaceFile(o.dropIn(), text) })
		return removeFile(o.dropIn())
	}
	text, err := os.ReadFile(o.Config)
	if err != nil {
		return err
	}
	without, _, err := withoutBlock(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", o.Config, err)
	}
	back.add(func() error { return replaceFile(o.Config, text) })
	if version, rest, _ := strings.Cut(without, "\n"); record.Created && rest == "" && strings.HasPrefix(version, "version = ") {
		return removeFile(o.Config)
	}
	return replaceFile(o.Config, []byte(without))
}

func removeLinks(o Options, record *Record, back *undo) error {
	for _, link := range record.Links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, o.lib()+"/") {
			continue // another's by now
		}
		back.add(putLinkBack(link))
		if err := removeFile(link); err != nil {
			return err
		}
		o.say("removed %s", link)
	}
	return nil
}

// removeRest removes what nothing leads to any more. The record goes last: with
// it, what was interrupted can be taken up again.
func removeRest(o Options, record *Record) error {
	var errs []error
	for _, folder := range record.Folders {
		errs = append(errs, os.RemoveAll(folder))
	}
	if record.Backup != "" {
		errs = append(errs, removeFile(record.Config+".before-shimward"))
	}
	if len(record.Made) > 0 {
		_ = os.Remove(filepath.Dir(o.dropIn())) // stays if it holds something
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
