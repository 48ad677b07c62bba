//go:build cgo

package seccomp

import (
	"fmt"
	"io"
	"os"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// export reads a filter's program through a memfd.
func export(f *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("shimward-seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("export a filter: %w", err)
	}
	file := os.NewFile(uintptr(fd), "memfd:shimward-seccomp")
	defer func() { _ = file.Close() }()
	if err := f.ExportBPF(file); err != nil {
		return nil, fmt.Errorf("export a filter: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("export a filter: %w", err)
	}
	program, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("export a filter: %w", err)
	}
	return program, nil
}
