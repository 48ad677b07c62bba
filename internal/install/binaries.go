package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// binaryNames must be in one folder: the shim looks for shimward-hook next to itself.
var binaryNames = []string{"containerd-shim-shimward-v1", "shimward", "shimward-hook"}

// Binaries returns the names of all binaries that are installed.
func Binaries() []string { return slices.Clone(binaryNames) }

// runtimeLink is the name under which an engine that takes only the path of an OCI runtime finds
// `shimward runc` (ociruntime.Name), and runtimeBinary is the link's target.
const (
	runtimeLink   = "shimward-runc"
	runtimeBinary = "shimward"
)

// linkNames maps the links in PREFIX/bin to the binaries that they point to.
func linkNames() map[string]string {
	links := map[string]string{runtimeLink: runtimeBinary}
	for _, name := range binaryNames {
		links[name] = name
	}
	return links
}

type binary struct {
	name string
	data []byte
}

func readBinaries(source string) ([]binary, error) {
	files := make([]binary, 0, len(binaryNames))
	for _, name := range binaryNames {
		data, err := os.ReadFile(filepath.Join(source, name)) //nolint:gosec // what the operator installs
		if err != nil {
			return nil, fmt.Errorf("read the binaries to install (all of them have to be in one folder): %w", err)
		}
		files = append(files, binary{name: name, data: data})
	}
	return files, nil
}

// folderOf returns a folder name made from version and content, so that a folder is never
// overwritten and running programs keep their files.
func folderOf(o Options, files []binary) string {
	sum := sha256.New()
	for _, file := range files {
		_, _ = sum.Write(file.data)
	}
	clean := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, o.Version)
	return filepath.Join(o.lib(), clean+"-"+hex.EncodeToString(sum.Sum(nil))[:8])
}

func linkOf(o Options, name string) string { return filepath.Join(o.Prefix, "bin", name) }

func pointsTo(link, target string) bool {
	now, err := os.Readlink(link)
	return err == nil && now == target
}

// checkLinks refuses to replace files that install did not create.
func checkLinks(o Options) error {
	for name := range linkNames() {
		link := linkOf(o, name)
		target, err := os.Readlink(link)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil || !strings.HasPrefix(target, o.lib()+"/"):
			return fmt.Errorf("%s was not put there by `shimward install`: remove it, or install to another --prefix", link)
		}
	}
	return nil
}

// placeBinaries creates the version's folder and switches the links to it. Folders of other
// versions stay, because programs may be running from them.
func placeBinaries(o Options, files []binary, record *Record, back *undo) (changed bool, err error) {
	folder := folderOf(o, files)
	// Save the record first, so that an interrupted install can be removed too: removing a missing
	// file is no error.
	record.Folders = addOnce(record.Folders, folder)
	names := slices.Sorted(maps.Keys(linkNames()))
	for _, name := range names {
		record.Links = addOnce(record.Links, linkOf(o, name))
	}
	if err := record.save(o.record()); err != nil {
		return false, err
	}
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		if err := writeFolder(folder, files); err != nil {
			return false, err
		}
		back.add(func() error { return os.RemoveAll(folder) })
		o.say("put the binaries in %s", folder)
		changed = true
	}
	if err := makeFolder(filepath.Join(o.Prefix, "bin"), back); err != nil {
		return false, err
	}
	for _, name := range names {
		link, target := linkOf(o, name), filepath.Join(folder, linkNames()[name])
		if pointsTo(link, target) {
			continue
		}
		back.add(putLinkBack(link))
		if err := replaceLink(link, target); err != nil {
			return false, err
		}
		o.say("linked %s to them", link)
		changed = true
	}
	return changed, nil
}

// putLinkBack returns a step that restores a link's current target, or removes the link if it does
// not exist now.
func putLinkBack(link string) func() error {
	target, err := os.Readlink(link)
	if err != nil {
		return func() error { return removeFile(link) }
	}
	return func() error { return replaceLink(link, target) }
}

func writeFolder(folder string, files []binary) (err error) {
	temp, err := os.MkdirTemp(filepath.Dir(folder), ".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	for _, file := range files {
		path := filepath.Join(temp, file.name)
		if err := replaceFile(path, file.data); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // it is a command
			return err
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil { //nolint:gosec // as its commands
		return err
	}
	return os.Rename(temp, folder)
}
