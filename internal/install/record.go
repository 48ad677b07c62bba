package install

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Record is what install wrote, and therefore what uninstall removes.
type Record struct {
	Folders []string `json:"folders"`           // of binaries, one for each version
	Links   []string `json:"links"`             // to the binaries of the newest version
	Config  string   `json:"config,omitempty"`  // containerd's root file that was read
	DropIn  string   `json:"drop_in,omitempty"` // the file that was added to it
	Block   bool     `json:"block,omitempty"`   // the root file contains shimward's block instead
	// Template is the file that k3s or RKE2 generate the root file from, if that contains the
	// block.
	Template string   `json:"template,omitempty"`
	Created  bool     `json:"created,omitempty"` // install created the file with the block
	Backup   string   `json:"backup,omitempty"`  // a copy of that file as it was before
	Made     []string `json:"made,omitempty"`    // other folders that install created
	// Written is when containerd's config was changed. A containerd that was started before does
	// not know the runtime.
	Written time.Time `json:"written,omitzero"`
}

// Load reads the record of an installation.
func Load(prefix string) (*Record, error) {
	return loadRecord(Options{Prefix: prefix}.record())
}

// written reports whether containerd's config contains anything that install wrote.
func (r *Record) written() bool { return r.place() != "" }

// place returns the file that contains the runtime, or "".
func (r *Record) place() string { return cmp.Or(r.DropIn, r.edited()) }

// edited returns the file that contains the block, or "".
func (r *Record) edited() string {
	switch {
	case r.Template != "":
		return r.Template
	case r.Block:
		return r.Config
	default:
		return ""
	}
}

func (r *Record) setEdited(o Options, path string) {
	r.Block = path == o.Config
	if !r.Block {
		r.Template = path
	}
}

// forget clears the fields for what was written to containerd's config, after it has been removed.
func (r *Record) forget() {
	r.DropIn, r.Block, r.Template, r.Created, r.Backup = "", false, "", false, ""
}

// loadRecord reads the record. It is empty if nothing was installed.
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
