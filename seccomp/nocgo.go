//go:build !cgo

package seccomp

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var errNoLibseccomp = errors.New("this binary was built without libseccomp (CGO_ENABLED=0): it can merge profiles, but not answer notifications")

func supported() error                            { return errNoLibseccomp }
func compile(*specs.LinuxSeccomp) ([]byte, error) { return nil, errNoLibseccomp }
func receive(int) (*notification, error)          { return nil, errNoLibseccomp }
func idValid(int, uint64) bool                    { return false }
func respond(int, uint64, response) error         { return errNoLibseccomp }
