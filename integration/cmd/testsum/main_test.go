package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	const (
		pass     = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
		fail     = `{"Action":"output","Package":"p","Test":"TestB","Output":"boom\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n"
		skip     = `{"Action":"output","Package":"p","Test":"TestC","Output":"    c.go:1: missing: root\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestC"}` + "\n"
		ok       = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}` + "\n" + `{"Action":"pass","Package":"p"}` + "\n"
		packFail = `{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		build    = `{"Action":"build-output","ImportPath":"p","Output":"p.go:1: wrong\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n"
		on       = `{"Action":"output","Package":"p","Test":"TestB","Output":"on\n"}` + "\n"
		panics   = `{"Action":"output","Package":"p","Test":"TestD","Output":"panic: no\n"}` + "\n"
	)
	chatty := strings.Repeat(on, 100) + fail + packFail
	for name, test := range map[string]struct {
		in        string
		wantErr   string
		wantShown string
		wantTotal string
	}{
		"passes":                 {pass + ok, "", "ok  \tp\t0.1s\n", "1 passed, 0 failed\n"},
		"a test fails":           {pass + fail + packFail, "1 failed", "boom\nFAIL\tp\t0.1s\n", "FAILED: p TestB\n    boom\n1 passed, 1 failed\n"},
		"only skipped":           {skip + ok, "no test ran", "ok  \tp\t0.1s\n", "skipped: p TestC: c.go:1: missing: root\n0 passed, 0 failed\n"},
		"nothing at all":         {"", "no test ran", "", "0 passed, 0 failed\n"},
		"does not build":         {build, "1 failed", "p.go:1: wrong\n", "FAILED: p (does not build)\n    p.go:1: wrong\n0 passed, 1 failed\n"},
		"dies outside a test":    {pass + panics + packFail, "1 failed", "panic: no\nFAIL\tp\t0.1s\n", "FAILED: p\n    panic: no\n1 passed, 1 failed\n"},
		"a tool speaks between":  {"vm: hello\n" + pass + ok, "", "vm: hello\nok  \tp\t0.1s\n", "1 passed, 0 failed\n"},
		"cut off after one test": {pass, "1 failed", "", "FAILED: p (cut off)\n1 passed, 1 failed\n"},
		"cut off within a test":  {pass + panics, "1 failed", "", "FAILED: p (cut off)\n    panic: no\n1 passed, 1 failed\n"},
		"speaks for long":        {chatty, "1 failed", strings.Repeat("on\n", 100) + "boom\nFAIL\tp\t0.1s\n", "FAILED: p TestB\n" + strings.Repeat("    on\n", 19) + "    boom\n0 passed, 1 failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := filepath.Join(t.TempDir(), "suite.json")
			var shown, counted strings.Builder
			showErr := run([]string{"show", kept}, strings.NewReader(test.in), &shown)
			totalErr := run([]string{"total", kept}, nil, &counted)
			for _, err := range []error{showErr, totalErr} {
				if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got error %v, want %q", err, test.wantErr)
				}
			}
			if shown.String() != test.wantShown {
				t.Errorf("shown:\n%s\nwant:\n%s", shown.String(), test.wantShown)
			}
			if counted.String() != test.wantTotal {
				t.Errorf("total:\n%s\nwant:\n%s", counted.String(), test.wantTotal)
			}
			if raw, err := os.ReadFile(kept); err != nil || string(raw) != test.in {
				t.Errorf("kept %q, %v", raw, err)
			}
		})
	}
}
