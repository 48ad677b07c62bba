package node

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	// Image is the name of the image that contains busybox and shimward.
	Image = "localhost/shimward/busybox:test"
	// pauseName is the image from which containerd's CRI plugin creates pod sandboxes.
	pauseName = "registry.k8s.io/pause:3.10.2"
)

// applets are the busybox commands for which the image has links.
var applets = [...]string{
	"sh", "cat", "dd", "echo", "false", "grep", "head", "id", "kill", "ls", "mkdir", "mount", "nc", "ps",
	"sleep", "tail", "test", "touch", "tr", "true", "umount", "wc", "xxd", "hexdump", "od", "rm", "cp",
}

func (n *Node) importImage(ctx context.Context) (containerd.Image, error) {
	layer, err := n.layer()
	if err != nil {
		return nil, fmt.Errorf("make the image's layer: %w", err)
	}
	archive, err := imageArchive(layer)
	if err != nil {
		return nil, fmt.Errorf("make the image: %w", err)
	}
	if n.options.CRI {
		if _, err := n.Client.Import(namespaces.WithNamespace(ctx, kubernetes), bytes.NewReader(archive)); err != nil {
			return nil, fmt.Errorf("import the image for Kubernetes: %w", err)
		}
	}
	images, err := n.Client.Import(n.in(ctx), bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("import the image: %w", err)
	}
	for _, record := range images {
		if record.Name != Image {
			continue
		}
		image := containerd.NewImage(n.Client, record)
		if err := image.Unpack(n.in(ctx), "overlayfs"); err != nil {
			return nil, fmt.Errorf("unpack the image: %w", err)
		}
		return image, nil
	}
	return nil, fmt.Errorf("import the image: %s is not among what was imported", Image)
}

// ImportForKubernetes imports an image into the namespace that kubelet uses and returns its names.
func (n *Node) ImportForKubernetes(ctx context.Context, archive io.Reader) ([]string, error) {
	images, err := n.Client.Import(namespaces.WithNamespace(ctx, kubernetes), archive)
	if err != nil {
		return nil, fmt.Errorf("import an image for Kubernetes: %w", err)
	}
	names := make([]string, 0, len(images))
	for _, image := range images {
		names = append(names, image.Name)
	}
	return names, nil
}

func imageArchive(content []byte) ([]byte, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	image, err = mutate.ConfigFile(image, withConfig(image))
	if err != nil {
		return nil, err
	}
	images := map[name.Tag]v1.Image{}
	for _, text := range []string{Image, pauseName} {
		tag, err := name.NewTag(text)
		if err != nil {
			return nil, err
		}
		images[tag] = image
	}
	var archive bytes.Buffer
	err = tarball.MultiWrite(images, &archive)
	return archive.Bytes(), err
}

func withConfig(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil { // cannot happen: the image is in memory
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Env = []string{"PATH=/bin"}
	config.Config.Cmd = []string{"/bin/sleep", "1000000"}
	return config
}

// layer returns the root file system as a tar: busybox, and shimward for its attack emulation.
func (n *Node) layer() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "root", "run"} {
		header := tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o1777, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
	}
	if err := addText(w, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"); err != nil {
		return nil, err
	}
	if err := addFile(w, "bin/busybox", "/bin/busybox"); err != nil {
		return nil, err
	}
	for _, applet := range applets {
		header := tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
	}
	bin := cmp.Or(n.options.Installer, n.options.Bin)
	shimward := filepath.Join(bin, "shimward")
	if _, err := os.Stat(shimward); bin != "" && err == nil {
		if err := addFile(w, "bin/shimward", shimward); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func addFile(w *tar.Writer, as, path string) error {
	content, err := os.ReadFile(path) //nolint:gosec // an input of the test harness itself
	if err != nil {
		return fmt.Errorf("put %s into the image: %w", path, err)
	}
	return addBytes(w, as, 0o755, content)
}

func addText(w *tar.Writer, as, text string) error { return addBytes(w, as, 0o644, []byte(text)) }

func addBytes(w *tar.Writer, as string, mode int64, content []byte) error {
	header := tar.Header{
		Typeflag: tar.TypeReg, Name: as, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0),
	}
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
