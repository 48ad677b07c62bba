package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type configState int

const (
	missing configState = iota
	configured
)

// inspect says whether containerd has the runtime. One under its name that is
// something else is an error.
func inspect(o Options, before dump) (configState, error) {
	runtime := before.runtime()
	switch {
	case runtime == nil:
		return missing, nil
	case ours(runtime):
		return configured, nil
	default:
		return missing, fmt.Errorf("containerd has a runtime called %q that is not shimward's (runtime_type %v, pod_annotations %v; expected %s and [%s]): rename or remove it in %s or what that imports",
			runtimeName, runtime["runtime_type"], runtime["pod_annotations"], runtimeType, annotations, o.Config)
	}
}

// adopt records a runtime that an install wrote that was killed before it could
// say so. One that an operator wrote stays the operator's.
func adopt(o Options, record *Record) error {
	record.Config = o.Config
	if text, err := os.ReadFile(o.dropIn()); err == nil && strings.HasPrefix(string(text), blockBegin) {
		record.DropIn = o.dropIn()
		return record.save(o.record())
	}
	if text, err := os.ReadFile(o.Config); err == nil && strings.Contains(string(text), blockBegin) {
		record.Block = true
		return record.save(o.record())
	}
	o.say("left the runtime in containerd's config as it is: it was not written by `shimward install`")
	return nil
}

// configure tries a drop-in, and the root file itself where containerd does not
// take that: 1.x does not import it, or replaces other runtimes by it.
func configure(ctx context.Context, o Options, before dump, record *Record, back *undo) error {
	root, version, err := readRoot(o.Config, before)
	if err != nil {
		return err
	}
	record.Config = o.Config
	tried, err := tryDropIn(ctx, o, before, version, record, back)
	if err != nil || tried {
		return err
	}
	return editRoot(ctx, o, before, root, version, record, back)
}

// readRoot is the root file, nil if there is none, and the version to write in.
func readRoot(path string, before dump) ([]byte, int, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator's file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, before.version(), checkVersion(before.version())
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read containerd's config: %w", err)
	}
	version, err := configVersion(text)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return text, version, nil
}

func tryDropIn(ctx context.Context, o Options, before dump, version int, record *Record, back *undo) (bool, error) {
	path := o.dropIn()
	text := []byte(dropIn(version, before.runcOptions()))
	if there, err := os.ReadFile(path); err == nil && !strings.HasPrefix(string(there), blockBegin) { //nolint:gosec // see above
		return false, nil
	}
	var trial undo
	_, statErr := os.Stat(filepath.Dir(path))
	err := makeFolder(filepath.Dir(path), &trial)
	if err != nil {
		return false, err
	}
	trial.add(func() error { return removeFile(path) })
	if err := replaceFile(path, text); err != nil {
		return false, errors.Join(err, trial.run())
	}
	wrong, err := compare(ctx, o, before, o.Config)
	if ctx.Err() != nil {
		return false, errors.Join(ctx.Err(), trial.run())
	}
	if err != nil || wrong != "" {
		return false, trial.run()
	}
	back.add(trial.run)
	record.DropIn, record.Written = path, time.Now()
	if statErr != nil {
		record.Made = addOnce(record.Made, filepath.Dir(path))
	}
	o.say("wrote the runtime to %s", path)
	return true, record.save(o.record())
}

// editRoot asks containerd about a copy beside the root file, where relative
// imports mean the same, before the root file is touched.
func editRoot(ctx context.Context, o Options, before dump, root []byte, version int, record *Record, back *undo) error {
	base := string(root)
	if root == nil {
		base = fmt.Sprintf("version = %d\n", version)
	}
	text, err := withBlock(base, version, before.runcOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", o.Config, err)
	}
	copied := o.Config + ".shimward-trial"
	if err := copyFile(o.Config, copied, []byte(text)); err != nil {
		return err
	}
	wrong, err := compare(ctx, o, before, copied)
	if err := errors.Join(err, removeFile(copied)); err != nil {
		return err
	}
	if wrong != "" {
		return fmt.Errorf("with shimward's runtime added, containerd reads %s otherwise: %s; nothing was changed, add the runtime by hand:\n%s",
			o.Config, wrong, runtimeTable(version, before.runcOptions()))
	}
	putBack, err := restore(o.Config)
	if err != nil {
		return err
	}
	if root != nil {
		record.Backup = o.Config + ".before-shimward"
		if err := copyFile(o.Config, record.Backup, root); err != nil {
			return err
		}
		back.add(func() error { return removeFile(o.Config + ".before-shimward") })
	}
	record.Block, record.Created, record.Written = true, root == nil, time.Now()
	if err := record.save(o.record()); err != nil {
		return err
	}
	back.add(putBack)
	if err := replaceFile(o.Config, []byte(text)); err != nil {
		return err
	}
	o.say("wrote the runtime to the end of %s", o.Config)
	if record.Backup != "" {
		o.say("kept that file as it was in %s", record.Backup)
	}
	return nil
}

// compare says what containerd makes of a config that is not as it should be.
func compare(ctx context.Context, o Options, before dump, config string) (string, error) {
	after, err := askDump(ctx, o.Containerd, config)
	if err != nil {
		return "", err
	}
	if !ours(after.runtime()) {
		return "the runtime is not there", nil
	}
	if keys := differences(before, after, o.dropIn(), o.Config, config); len(keys) > 0 {
		return "it changes " + strings.Join(keys, ", "), nil
	}
	return "", nil
}
