package peers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is an entry of a layer. A name that ends in a slash is a folder's.
type file struct {
	name, text, link string
	hard             bool // the link is
	mode             int64
	owner            int
}

// picture is an image in the making: its layers, the lowest first, and its config.
type picture struct {
	layers [][]file
	config v1.Config
}

// images are what the suites pull, by reference. They are made of Debian's busybox
// and of standin, with the files and users in them that the tests look for.
func (r *room) images() (map[name.Tag]v1.ImageIndex, error) {
	made := map[name.Tag]v1.ImageIndex{}
	pictures, err := r.pictures()
	if err != nil {
		return nil, err
	}
	for reference, p := range pictures {
		tag, err := name.NewTag(reference)
		if err != nil {
			return nil, err
		}
		index, err := p.index(path.Base(reference))
		if err != nil {
			return nil, fmt.Errorf("make the image %s: %w", reference, err)
		}
		made[tag] = index
		if reference == busybox {
			digest, err := index.Digest()
			if err != nil {
				return nil, err
			}
			r.digest = digest.String()
		}
	}
	return made, nil
}

const (
	busybox = "ghcr.io/containerd/busybox:1.36"
	e2e     = "registry.k8s.io/e2e-test-images/"
	staging = "gcr.io/k8s-staging-cri-tools/"
)

func (r *room) pictures() (map[string]picture, error) {
	base, err := baseLayer(false)
	if err != nil {
		return nil, err
	}
	alpine, err := baseLayer(true)
	if err != nil {
		return nil, err
	}
	standin, err := os.ReadFile(r.tools.Standin)
	if err != nil {
		return nil, err
	}
	program := func(path string, mode int64) []file { return []file{{name: path, text: string(standin), mode: mode}} }
	with := func(config v1.Config, more ...[]file) picture {
		return picture{append([][]file{base}, more...), config}
	}
	shell := v1.Config{Cmd: []string{"sh"}}
	pause := picture{[][]file{append(program("pause", 0o755), file{name: "run/"})}, v1.Config{Entrypoint: []string{"/pause"}}}
	nginx := with(v1.Config{Cmd: []string{"nginx"}}, program("usr/sbin/nginx", 0o755))
	volumes := map[string]struct{}{"/test_dir": {}, "C:/weird_test_dir": {}, "/:colon_prefixed": {}}
	made := map[string]picture{
		busybox: with(shell, program("bin/nc", 0o755)),
		"ghcr.io/containerd/alpine:3.14.0": {
			[][]file{alpine, {{name: "etc/os-release", text: "NAME=\"stands in for Alpine Linux\"\n"}}},
			v1.Config{Cmd: []string{"/bin/sh"}},
		},
		"ghcr.io/containerd/nginx:1.27.0": nginx,
		e2e + "nginx:1.14-2":              nginx,
		e2e + "httpd:2.4.39-4":            with(v1.Config{Cmd: []string{"httpd"}}, program("usr/sbin/httpd", 0o755)),
		e2e + "busybox:1.29-2":            with(shell, []file{{name: "etc/image", text: "1.29-2\n"}}), // not the same digest as another
		e2e + "resource-consumer:1.10":    with(v1.Config{Cmd: []string{"/bin/sleep", "1000000"}}, []file{{name: "bin/stress", text: stress, mode: 0o755}}),
		e2e + "nonewprivs:1.3":            with(v1.Config{Cmd: []string{"nnp"}}, program("usr/local/bin/nnp", 0o6755)),
		"ghcr.io/containerd/volume-copy-up:2.2": with(v1.Config{Cmd: []string{"sh"}, Volumes: volumes},
			[]file{{name: "test_dir/"}, {name: "test_dir/test_file", text: "test_content\n"}},
			[]file{{name: "C:/"}, {name: "C:/weird_test_dir/"}, {name: "C:/weird_test_dir/weird_test_file", text: "test_content\n"}},
			[]file{{name: ":colon_prefixed/"}, {name: ":colon_prefixed/colon_prefixed_file", text: "test_content\n"}}),
		// Of a Debian's kind: tests look for bash and for a setuid program.
		"ghcr.io/containerd/volume-ownership:2.1": with(v1.Config{Cmd: []string{"/bin/bash"}, Volumes: map[string]struct{}{"/test_dir": {}}},
			[]file{
				{name: "bin/bash", text: "#!/bin/sh\nexec /bin/sh \"$@\"\n", mode: 0o755},
				{name: "usr/bin/passwd", text: "#!/bin/sh\n", mode: 0o4755},
				{name: "test_dir/", owner: 65534},
			}),
	}
	for _, tag := range []string{"3.10.2", "3.6", "3.9"} {
		made["registry.k8s.io/pause:"+tag] = picture{append(pause.layers, []file{{name: "version", text: tag + "\n"}}), pause.config}
	}
	made["k8s.gcr.io/pause:3.9"] = made["registry.k8s.io/pause:3.9"]
	for image, user := range map[string]string{
		"user-uid": "1002", "user-username": "www-data", "user-uid-group": "1003:1005", "user-username-group": "www-data:100",
	} {
		made[staging+"test-image-"+image+":latest"] = with(v1.Config{Cmd: []string{"sh"}, User: user})
	}
	made[staging+"test-image-predefined-group:latest"] = with(v1.Config{Cmd: []string{"sh"}, User: "1000"}, []file{
		{name: "etc/passwd", text: passwd + "default-user:x:1000:1000::/home/default-user:/bin/sh\n"},
		{name: "etc/group", text: group + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"},
	})
	// nginx as it is configured for the node's own network.
	made[staging+"hostnet-nginx-amd64:latest"] = with(v1.Config{Cmd: []string{"nginx", "12003"}}, program("usr/sbin/nginx", 0o755))
	for _, image := range []string{"latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest", "tags:1", "tags:2", "tags:3"} {
		content, _, _ := strings.Cut(image, ":")
		made[staging+"test-image-"+image] = with(shell, []file{{name: "etc/image", text: content + "\n"}})
	}
	return made, nil
}

// stress holds 100 MB, as the program of that name is asked to.
const stress = "#!/bin/sh\nheld=$(head -c 115000000 /dev/zero | tr '\\0' x)\nsleep 30\n"

// pgrep knows a name alone.
const pgrep = "#!/bin/sh\nfor name; do :; done\ncd /proc\nfor p in [0-9]*; do\n" +
	"\tread -r comm 2>/dev/null <$p/comm && case $comm in *\"$name\"*) echo $p ;; esac\ndone\n"

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\n" +
		"sys:x:3:3:sys:/dev:/bin/false\nsync:x:4:100:sync:/bin:/bin/sync\nmail:x:8:8:mail:/var/spool/mail:/bin/false\n" +
		"www-data:x:33:33:www-data:/var/www:/bin/false\noperator:x:37:37:Operator:/var:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nmail:x:8:\nkmem:x:9:\nwheel:x:10:root\n" +
		"cdrom:x:11:\ndialout:x:18:\nfloppy:x:19:\nvideo:x:28:\naudio:x:29:\ntape:x:32:\nwww-data:x:33:\noperator:x:37:\nutmp:x:43:\n" +
		"plugdev:x:46:\nstaff:x:50:\nlock:x:54:\nnetdev:x:82:\nusers:x:100:\nnobody:x:65534:\n"
)

// baseLayer is a root file system as busybox's own image has it, with hard links, so
// that masking one applet masks no other; or with symlinks, as Alpine's has them.
func baseLayer(symlinks bool) ([]file, error) {
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("make an image (busybox-static has it): %w", err)
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output() //nolint:noctx // ends at once
	if err != nil {
		return nil, fmt.Errorf("list busybox's applets: %w", err)
	}
	layer := []file{{name: "bin/busybox", text: string(binary), mode: 0o755}}
	for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "usr/local", "usr/local/bin", "var"} {
		layer = append(layer, file{name: dir + "/"})
	}
	// What tests call and Debian's busybox leaves out.
	layer = append(layer, file{name: "bin/ipcs", text: "#!/bin/sh\ncat /proc/sysvipc/shm\n", mode: 0o755}, file{name: "bin/pgrep", text: pgrep, mode: 0o755})
	layer = append(layer, file{name: "var/run", link: "../run"}, file{name: "etc/passwd", text: passwd}, file{name: "etc/group", text: group})
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			link := file{name: "bin/" + applet, link: "bin/busybox", hard: true, mode: 0o755}
			if symlinks {
				link.link, link.hard = "/bin/busybox", false
			}
			layer = append(layer, link)
		}
	}
	return layer, nil
}

// platforms are those of the images' indexes. The first has content; tests want
// to see that the others are not pulled.
func platforms() []v1.Platform {
	return []v1.Platform{
		{OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm64", Variant: "v8"},
		{OS: "linux", Architecture: "s390x"},
		{OS: "linux", Architecture: "ppc64le"},
	}
}

// index is of all platforms. No two names have content in common there, as tests
// look at what goes when one is removed.
func (p picture) index(name string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	for i, platform := range platforms() {
		var layers []v1.Layer
		for at, files := range p.layers {
			if i > 0 {
				files = []file{{name: "platform", text: fmt.Sprintln(name, platform.Architecture, at)}}
			}
			content, err := archive(files)
			if err != nil {
				return nil, err
			}
			layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
			if err != nil {
				return nil, err
			}
			layers = append(layers, layer)
		}
		image, err := mutate.AppendLayers(empty.Image, layers...)
		if err != nil {
			return nil, err
		}
		config := p.config
		config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		image, err = mutate.Config(image, config)
		if err != nil {
			return nil, err
		}
		described, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		described = described.DeepCopy()
		described.OS, described.Architecture, described.Variant = platform.OS, platform.Architecture, platform.Variant
		image, err = mutate.ConfigFile(image, described)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return index, nil
}

func archive(files []file) ([]byte, error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, f := range files {
		header := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.text)), Uid: f.owner, Gid: f.owner, ModTime: time.Unix(0, 0)}
		switch {
		case strings.HasSuffix(f.name, "/"):
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
			if f.name == "tmp/" {
				header.Mode = 0o1777
			}
		case f.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
			if f.hard {
				header.Typeflag = tar.TypeLink
			}
		case f.mode == 0:
			header.Mode = 0o644
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), w.Close()
}
