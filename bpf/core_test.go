package bpf

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/shimward/shimward/internal/testenv"
)

// Every field that the programs read exists in every kernel with a known BTF: the running one and
// those that scripts/fetch-kernel got. An inode's change time has had three names, a task's perf
// events two types, and a file's owner two places; each kernel must have one of them.
func TestRelocations(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		testenv.Elsewhere(t, "scripts/extract-btf reads images that hold an ELF file: arm64's do not")
	}
	kernels := map[string]*btf.Spec{}
	running, err := btf.LoadKernelSpec()
	if err != nil {
		testenv.Missing(t, "a kernel with BTF: "+err.Error())
	}
	kernels["running"] = running
	for _, image := range fetchedKernels(t) {
		kernels[filepath.Base(filepath.Dir(image))] = extractBTF(t, image)
	}
	if len(kernels) < 3 {
		testenv.Missing(t, "two more kernels than the running one: `scripts/fetch-kernel 6.1`, `scripts/fetch-kernel 6.12`")
	}
	for name, target := range kernels {
		t.Run(name, func(t *testing.T) { checkRelocations(t, target) })
	}
}

func checkRelocations(t *testing.T, target *btf.Spec) {
	t.Helper()
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	var events bool
	times, owners := make(map[string]bool), make(map[string]bool)
	var checked int
	for name, program := range spec.Programs {
		for i := range program.Instructions {
			relocation := btf.CORERelocationMetadata(&program.Instructions[i])
			if relocation == nil {
				continue
			}
			fixups, err := btf.CORERelocate([]*btf.CORERelocation{relocation}, []*btf.Spec{target}, binary.LittleEndian,
				func(btf.Type) (btf.TypeID, error) { return 0, errors.New("no local type is named") })
			if err != nil {
				t.Errorf("%s: %v: %v", name, relocation, err)
				continue
			}
			checked++
			found := !strings.HasSuffix(fixups[0].String(), "=poison")
			switch what := relocation.String(); {
			case strings.Contains(what, `Struct:"inode___before`):
				times[what] = times[what] || found
			case strings.Contains(what, `Struct:"inode"`):
				times["now"] = times["now"] || found
			case strings.Contains(what, `Struct:"task_struct___`):
				events = events || found
			case strings.Contains(what, `Struct:"fown_struct"`), strings.Contains(what, `Struct:"file___before`):
				// An existence check always resolves, so only an offset shows that the field
				// exists.
				owners[what] = owners[what] || found && strings.Contains(what, "byte_off")
			case !found:
				t.Errorf("%s: %v is not on this kernel", name, relocation)
			}
		}
	}
	if checked < 100 {
		t.Errorf("%d relocations were checked", checked)
	}
	if !slices.Contains(slices.Collect(maps.Values(times)), true) {
		t.Errorf("an inode has no change time that the programs know: %v", times)
	}
	if !events {
		t.Error("a task has no perf events that the programs know")
	}
	if !slices.Contains(slices.Collect(maps.Values(owners)), true) {
		t.Errorf("a file has no owner that the programs know: %v", owners)
	}
}

// fetchedKernels returns the images that scripts/fetch-kernel put into the cache.
func fetchedKernels(t *testing.T) []string {
	t.Helper()
	cache := os.Getenv("SHIMWARD_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "shimward")
	}
	images, err := filepath.Glob(filepath.Join(cache, "kernels", "*", "vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func extractBTF(t *testing.T, image string) *btf.Spec {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "btf")
	if out, err := exec.CommandContext(t.Context(), "../scripts/extract-btf", image, raw).CombinedOutput(); err != nil {
		t.Fatalf("extract the BTF of %s: %v: %s", image, err, out)
	}
	file, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	spec, err := btf.LoadSpecFromReader(file)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}
