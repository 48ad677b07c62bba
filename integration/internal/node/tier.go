package node

import (
	"os"
	"slices"
	"strings"

	"github.com/shimward/shimward/access"
)

// Tier is what this kernel can do, found without shimward.
func Tier() access.Tier {
	active, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil || !slices.Contains(strings.Split(strings.TrimSpace(string(active)), ","), "bpf") {
		return access.TierTracepoint
	}
	return access.TierLSM
}

// Emulated says that the CPUs are slow ones, of a VM's: scripts/test does.
func Emulated() bool { return os.Getenv("SHIMWARD_TEST_EMULATED") != "" }
