package install

import (
	"fmt"
	"strings"
)

// Units returns the systemd units, one of which runs the containerd that reads a root file. k3s and
// RKE2 start containerd themselves, and write the root file at that time.
func Units(config string) []string {
	if isGenerated(config) {
		return []string{"k3s", "k3s-agent", "rke2-server", "rke2-agent"}
	}
	return []string{"containerd"}
}

// Active returns the active one of some systemd units. systemctl runs the command and returns its
// exit status.
func Active(units []string, systemctl func(args ...string) (int, error)) (string, error) {
	if len(units) == 1 {
		return units[0], nil
	}
	for _, unit := range units {
		status, err := systemctl("is-active", "--quiet", unit)
		if err != nil {
			return "", err
		}
		if status == 0 {
			return unit, nil
		}
	}
	return "", fmt.Errorf("none of %s is active in systemd", strings.Join(units, ", "))
}
