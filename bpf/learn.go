package bpf

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// learn asks the kernel for what the programs need to know about this node. It must run in the
// runtime's own namespaces, which define what "on the host" means.
func learn(program *ebpf.Program) (kernelSettings, error) {
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return kernelSettings{}, fmt.Errorf("learn the kernel's layout: %w", err)
	}
	defer shut(mem)
	found := kernelLearnedNode{MemFd: uint32(mem.Fd())} //nolint:gosec // a descriptor is no more than an int32
	if err := call(program, &found); err != nil {
		return kernelSettings{}, fmt.Errorf("learn the kernel's layout: %w", err)
	}
	settings := kernelSettings{
		MemFops:    found.MemFops,
		RootDevice: found.RootDevice,
		Level:      found.Level,
		PidNs:      found.PidNs,
		CgroupNs:   found.CgroupNs,
		MntNs:      found.MntNs,
	}
	for i, symbol := range found.Symbols {
		if symbol.Start == 0 {
			continue
		}
		size, err := symbolSize(text(symbol.Text[:]))
		if err != nil {
			return kernelSettings{}, fmt.Errorf("learn the kernel's layout: %w", err)
		}
		// A return address may lie just past the function's last call.
		settings.Symbols[i].Start = symbol.Start + 1
		settings.Symbols[i].End = symbol.Start + size + 1
	}
	return settings, checkSymbols(&settings)
}

// checkSymbols returns an error if the access sensor would be blind with these settings.
func checkSymbols(s *kernelSettings) error {
	has := func(i int) bool { return s.Symbols[i].Start != 0 }
	if s.MemFops == 0 || !has(int(kernelSymbolSYMBOL_MEM_READ)) || !has(int(kernelSymbolSYMBOL_MEM_WRITE)) {
		return fmt.Errorf("the kernel does not tell where procfs reads and writes memory: is /proc mounted?")
	}
	if !has(int(kernelSymbolSYMBOL_ACCESS_REMOTE)) && !has(int(kernelSymbolSYMBOL_ACCESS_REMOTE_INNER)) {
		return fmt.Errorf("the kernel does not tell where access_remote_vm is: " +
			"set the sysctl kernel.kptr_restrict to 0 or 1 until shimward has been loaded")
	}
	return nil
}

// symbolSize returns the size in the kernel's "%pS" format: name+0xoffset/0xsize.
func symbolSize(symbol string) (uint64, error) {
	symbol, _, _ = strings.Cut(symbol, " ") // a module's name may follow
	_, size, ok := strings.Cut(symbol, "/0x")
	if !ok {
		return 0, fmt.Errorf("the kernel names no symbol but %q: is it built without CONFIG_KALLSYMS?", symbol)
	}
	return strconv.ParseUint(size, 16, 64)
}
