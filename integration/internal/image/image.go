// Package image writes the image that deploy/ runs on a node, without a container engine. The image
// contains shimward's static binaries and nothing else. It is an OCI layout in a tar, which `ctr
// images import` and every registry client accept. The same binaries always result in the same
// image, byte for byte.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shimward/shimward/internal/install"
)

// Write writes an image of the binaries in directory bin, named reference, and returns its digest.
func Write(to io.Writer, reference, bin string) (digest string, err error) {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("the image's name: %w (write REGISTRY/REPOSITORY:TAG)", err)
	}
	image, err := build(bin)
	if err != nil {
		return "", err
	}
	hash, err := image.Digest()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "shimward-image-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	index, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("write the image's layout: %w", err)
	}
	err = index.AppendImage(image, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag.Name(), // the name under which containerd imports it
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return "", fmt.Errorf("write the image's layout: %w", err)
	}
	return hash.String(), pack(to, dir)
}

func build(bin string) (v1.Image, error) {
	content, err := root(bin)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, static.NewLayer(content, types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Env = []string{"PATH=/bin"}
	config.Config.Entrypoint = []string{"/bin/shimward"}
	return mutate.ConfigFile(image, config)
}

// root returns the root file system as a tar.
func root(bin string) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
		return nil, err
	}
	for _, binary := range install.Binaries() {
		content, err := os.ReadFile(filepath.Join(bin, binary)) //nolint:gosec // what goes into the image
		if err != nil {
			return nil, fmt.Errorf("read the binaries (make build): %w", err)
		}
		if err := add(w, "bin/"+binary, 0o755, content); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), w.Close()
}

// pack writes a directory as a tar without timestamps or owners.
func pack(to io.Writer, dir string) error {
	w := tar.NewWriter(to)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // just written
		if err != nil {
			return err
		}
		return add(w, relative, 0o644, content)
	})
	if err != nil {
		return fmt.Errorf("pack the image: %w", err)
	}
	return w.Close()
}

func add(w *tar.Writer, path string, mode int64, content []byte) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
