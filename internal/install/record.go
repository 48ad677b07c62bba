package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Record is what install wrote, and so what uninstall removes.
type Record struct {
	Folders []string `json:"folders"`           // of binaries, one a version
	Links   []string `json:"links"`             // to the binaries of the newest
	Config  string   `json:"config,omitempty"`  // containerd's root file that was read
	DropIn  string   `json:"drop_in,omitempty"` // the file that was added to it,
	Block   bool     `json:"block,omitempty"`   // or the root file has a block of shimward's
	Created bool     `json:"created,omitempty"` // the root file is install's own
	Backup  string   `json:"backup,omitempty"`  // the root file as it was
	Made    []string `json:"made,omitempty"`    // other folders that were not there before
	// Written is when containerd's config was changed: a containerd that has run since
	// before that does not know of it.
	Written time.Time `json:"written,omitzero"`
}

// Written is when an installation's install changed containerd's config, or the zero
// time where it found the runtime there.
func Written(prefix string) (time.Time, error) {
	record, err := loadRecord(Options{Prefix: prefix}.record())
	if err != nil {
		return time.Time{}, err
	}
	return record.Written, nil
}

// loadRecord reads the record, which is empty where nothing was installed.
func loadRecord(path string) (*Record, error) {
	record := &Record{}
	text, err := os.ReadFile(path) //nolint:gosec // the installation's own file
	if errors.Is(err, fs.ErrNotExist) {
		return record, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of the installation: %w", err)
	}
	if err := json.Unmarshal(text, record); err != nil {
		return nil, fmt.Errorf("read the record of the installation %s: %w", path, err)
	}
	return record, nil
}

func (r *Record) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

func addOnce(list []string, item string) []string {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}
