package emulate

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// proof is the page that the judge shares with an attempt.
type proof struct {
	file *os.File
	page []byte
}

func newProof() (*proof, error) {
	fd, err := unix.MemfdCreate("shimward-proof", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	p := &proof{file: os.NewFile(uintptr(fd), "proof")}
	if err := unix.Ftruncate(fd, pageLength); err != nil {
		return nil, errors.Join(fmt.Errorf("sizing the shared page: %w", err), p.file.Close())
	}
	p.page, err = unix.Mmap(fd, 0, pageLength, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping the shared page: %w", err), p.file.Close())
	}
	return p, nil
}

func (p *proof) close() {
	_ = unix.Munmap(p.page)
	_ = p.file.Close()
}
