package seccomp

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever a process can make long or strange in its status and stat does not hide the rest.
func TestProcfs(t *testing.T) {
	const plain = "Name:\tsh\nTgid:\t7\nPPid:\t3\nGroups:\t%s\nNSpid:\t7\t5\t1\nThreads:\t2\nCapEff:\t0000000000200000\n"
	many := strings.Repeat("4294967294 ", 65536) // NGROUPS_MAX
	for name, status := range map[string]string{"plain": fmt.Sprintf(plain, "0"), "of very many groups": fmt.Sprintf(plain, many)} {
		t.Run(name, func(t *testing.T) {
			p := procfs(t.TempDir())
			if err := os.Mkdir(filepath.Join(string(p), "7"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p.path(7, "status"), []byte(status), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := p.status(7)
			if err != nil || s.tgid != 7 || s.parent != 3 || s.threads != 2 || s.capabilities&capSysAdmin == 0 || !slices.Equal(s.inside, []int{7, 5, 1}) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	for _, text := range []string{"", "Tgid:\tx\n", "Tgid:\t7\nNSpid:\t7\tx\n", "Name:\tsh\n"} {
		if s, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	const stat = "7 (%s) S 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0\n"
	for _, comm := range []string{"sh", ") S 1 (", "a\nb"} {
		if start, err := parseStart(fmt.Appendf(nil, stat, comm)); err != nil || start != 99 {
			t.Errorf("%q: %d, %v", comm, start, err)
		}
	}
	for _, text := range []string{"", "7 (sh", "7 (sh) S 3", fmt.Sprintf(stat, "sh")[:42]} {
		if start, err := parseStart([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, start)
		}
	}
}
