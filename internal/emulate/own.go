package emulate

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownPage is a secret in the memory of this process, and this process's mem file. Opening one's own
// mem file for reading is allowed to everyone; using it from another process is a memory access
// that no kernel check guards any more.
type ownPage struct {
	victim Victim
	mem    *os.File
	page   []byte
	ends   []*os.File
}

func newOwnPage() (*ownPage, error) {
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	address, err := newAddress()
	if err != nil {
		return nil, err
	}
	page, err := plant(address, secret)
	if err != nil {
		return nil, err
	}
	own := &ownPage{page: page, victim: Victim{PID: os.Getpid(), Address: address, SHA256: digest(secret)}}
	if own.mem, err = os.Open("/proc/self/mem"); err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return own, nil
}

// offer sends the mem file into a socket pair and returns its other end.
func (o *ownPage) offer() (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	o.ends = append(o.ends, near, far)
	return far, send(int(near.Fd()), int(o.mem.Fd()))
}

// Close unmaps the secret and closes what is open.
func (o *ownPage) Close() error {
	var errs []error
	if o.mem != nil {
		errs = append(errs, o.mem.Close())
	}
	for _, end := range o.ends {
		errs = append(errs, end.Close())
	}
	if o.page != nil {
		errs = append(errs, unmap(o.page))
	}
	return errors.Join(errs...)
}
