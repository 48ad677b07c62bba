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

// Record is what install wrote, and so what uninstall removes.
type Record struct {
	Folders []string `json:"folders"`           // of binaries, one a version
	Links   []string `json:"links"`             // to the binaries of the newest
	Config  string   `json:"config,omitempty"`  // containerd's root file that was read
	DropIn  string   `json:"drop_in,omitempty"` // the file that was added to it,
	Block   bool     `json:"block,omitempty"`   // or the root file has a block of shimward's,
	// Template is what k3s or RKE2 make the root file of, if that has the block.
	Template string   `json:"template,omitempty"`
	Created  bool     `json:"created,omitempty"` // the file with the block is install's own
	Backup   string   `json:"backup,omitempty"`  // that file as it was
	Made     []string `json:"made,omitempty"`    // other folders that were not there before
	// Written is when containerd's config was changed: a containerd that has run since
	// before that does not know of it.
	Written time.Time `json:"written,omitzero"`
}

// Load reads the record of an installation.
func Load(prefix string) (*Record, error) {
	return loadRecord(Options{Prefix: prefix}.record())
}

// written says whether containerd's config has something of install's in it.
func (r *Record) written() bool { return r.place() != "" }

// place is the file that has the runtime, if one has.
func (r *Record) place() string { return cmp.Or(r.DropIn, r.edited()) }

// edited is the file that has the block, if one has.
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

// forget is for what was written to containerd's config, and is not there any more.
func (r *Record) forget() {
	r.DropIn, r.Block, r.Template, r.Created, r.Backup = "", false, "", false, ""
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
