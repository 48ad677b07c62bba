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

// backupSuffix is appended to a file's name for a copy of the file as it was before the block was
// added.
const backupSuffix = ".before-shimward"

type configState int

const (
	missing    configState = iota
	configured             // containerd reads it
	awaited                // it is in the template, and will be in the root file after the next start
)

// site describes the place for the runtime in containerd's config.
type site struct {
	state   configState
	version int    // config version to write in
	root    []byte // content of the root file, nil if it does not exist
	edited  string // the file that gets the block if containerd does not merge a drop-in
	text    string // content of edited, or its initial content if it does not exist
	there   bool   // whether edited exists
}

// inspect finds out whether containerd has the runtime, and where it would be written. A different
// runtime under shimward's name is an error.
func inspect(o Options, before dump) (site, error) {
	s := site{edited: o.Config}
	if runtime := before.runtime(); ours(runtime) {
		s.state = configured
	} else if runtime != nil {
		return s, fmt.Errorf("containerd has a runtime called %q that is not shimward's (runtime_type %v, pod_annotations %v; expected %s and [%s]): rename or remove it in %s or in the files that it imports or is generated from",
			runtimeName, runtime["runtime_type"], runtime["pod_annotations"], runtimeType, annotations, o.Config)
	}
	if s.state == configured && !o.generated() {
		return s, nil // whatever is in the file
	}
	var err error
	if s.root, s.version, err = readRoot(o.Config, before); err != nil {
		return s, err
	}
	if o.generated() {
		return s, s.inTemplate(o, before)
	}
	s.text, s.there = s.read(), s.root != nil
	return s, nil
}

// read returns the root file as containerd reads it.
func (s *site) read() string {
	if s.root == nil {
		return fmt.Sprintf("version = %d\n", s.version)
	}
	return string(s.root)
}

// adopt records a runtime that was written by an install that was killed before it could record it,
// and reports whether there is one. A runtime that an operator wrote is left to the operator.
func adopt(o Options, s site, record *Record) (bool, error) {
	record.Config = o.Config
	for _, path := range o.dropIns() {
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), blockBegin) { //nolint:gosec // beside containerd's config
			record.DropIn = path
			break
		}
	}
	if text, err := os.ReadFile(s.edited); err == nil && record.DropIn == "" && strings.Contains(string(text), blockBegin) {
		record.setEdited(o, s.edited)
	}
	if !record.written() {
		o.say("left the runtime in containerd's config as it is: it was not written by `shimward install`")
		return false, nil
	}
	info, err := os.Stat(record.place())
	if err != nil {
		return false, err
	}
	record.Written = info.ModTime()
	return true, record.save(o.record())
}

// configure tries a drop-in first. If containerd does not accept that, it edits the root file or
// its template: containerd 1.x does not import the drop-in, or lets it replace the other runtimes.
func configure(ctx context.Context, o Options, before dump, s site, record *Record, back *undo) error {
	if err := removeStale(s, record, back); err != nil {
		return err
	}
	record.Config = o.Config
	tried, err := tryDropIn(ctx, o, before, s.version, record, back)
	if err != nil || tried {
		return err
	}
	return edit(ctx, o, before, s, record, back)
}

// removeStale removes what an install wrote to containerd's config if containerd no longer reads
// it.
func removeStale(s site, record *Record, back *undo) error {
	if record.place() != s.edited {
		if err := removeConfig(record, back); err != nil {
			return err
		}
	}
	if record.Backup != "" {
		backup := record.edited() + backupSuffix
		putBack, err := restore(backup)
		if err != nil {
			return err
		}
		back.add(putBack)
		if err := removeFile(backup); err != nil {
			return err
		}
	}
	record.forget()
	return nil
}

// readRoot returns the root file's content, nil if it does not exist, and the config version to
// write in.
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
	path := o.dropIn(version)
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

// edit appends the block to the root file, or to the template that it is generated from. It first
// asks containerd about a copy of the root file with the block appended.
func edit(ctx context.Context, o Options, before dump, s site, record *Record, back *undo) error {
	options := before.runcOptions()
	read, err := withBlock(s.read(), s.version, options)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Config, err)
	}
	after, err := askCopy(ctx, o, read)
	if err != nil {
		return err
	}
	if wrong := after.wrong(o, before); wrong != "" {
		return fmt.Errorf("with shimward's runtime added, containerd reads %s differently: %s; nothing was changed, add the runtime to %s by hand:\n%s",
			o.Config, wrong, s.edited, runtimeTable(s.version, options))
	}
	text, err := withBlock(s.text, s.version, options)
	if err != nil {
		return fmt.Errorf("%s: %w", s.edited, err)
	}
	putBack, err := restore(s.edited)
	if err != nil {
		return err
	}
	record.setEdited(o, s.edited)
	record.Created, record.Written = !s.there, time.Now()
	if s.there {
		record.Backup = s.edited + backupSuffix
		if err := copyFile(s.edited, record.Backup, []byte(s.text)); err != nil {
			return err
		}
		back.add(func() error { return removeFile(s.edited + backupSuffix) })
	}
	if err := record.save(o.record()); err != nil {
		return err
	}
	back.add(putBack)
	if err := replaceFile(s.edited, []byte(text)); err != nil {
		return err
	}
	o.say("wrote the runtime to the end of %s", s.edited)
	if record.Backup != "" {
		o.say("kept that file as it was in %s", record.Backup)
	}
	if record.Template != "" {
		o.say("k3s or RKE2 generate %s from it when they start", o.Config)
	}
	return nil
}

// askCopy has containerd read text in place of the root file. The copy is in the same folder, so
// that relative imports resolve to the same files.
func askCopy(ctx context.Context, o Options, text string) (dump, error) {
	copied := o.copied()
	if err := copyFile(o.Config, copied, []byte(text)); err != nil {
		return nil, err
	}
	said, err := askDump(ctx, o.Containerd, copied)
	return said, errors.Join(err, removeFile(copied))
}

func (o Options) copied() string { return o.Config + ".shimward-trial" }

// compare says how containerd's reading of a config differs from what it should be, or returns "".
func compare(ctx context.Context, o Options, before dump, config string) (string, error) {
	after, err := askDump(ctx, o.Containerd, config)
	if err != nil {
		return "", err
	}
	return after.wrong(o, before), nil
}

// wrong says how a config with the runtime differs from what it should be, or returns "".
func (d dump) wrong(o Options, before dump) string {
	if !ours(d.runtime()) {
		return "the runtime is missing"
	}
	if keys := differences(before, d, append(o.dropIns(), o.Config, o.copied())...); len(keys) > 0 {
		return "it changes " + strings.Join(keys, ", ")
	}
	return ""
}
