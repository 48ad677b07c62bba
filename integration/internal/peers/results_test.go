package peers

import (
	"slices"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	got, err := readEvents(strings.NewReader(strings.Join([]string{
		`{"Action":"start"}`,
		`{"Action":"run","Test":"TestA"}`,
		`{"Action":"run","Test":"TestA/sub"}`,
		`{"Action":"output","Test":"TestA/sub","Output":"    a_test.go:7: first\n"}`,
		`{"Action":"output","Test":"TestA/sub","Output":"    a_test.go:9: task 0123456789abcdef did  not end\n"}`,
		`{"Action":"fail","Test":"TestA/sub"}`,
		`{"Action":"fail","Test":"TestA"}`,
		`{"Action":"run","Test":"TestB"}`,
		`{"Action":"output","Test":"TestB","Output":"    b_test.go:7: no criu\n"}`,
		`{"Action":"skip","Test":"TestB"}`,
		`{"Action":"run","Test":"TestC"}`,
		`{"Action":"output","Test":"TestC","Output":"        \tError Trace:\tc_test.go:7\n"}`,
		`{"Action":"output","Test":"TestC","Output":"        \tError:      \tReceived unexpected error:\n"}`,
		`{"Action":"output","Test":"TestC","Output":"        \t            \trefused\n"}`,
		`{"Action":"output","Test":"TestC","Output":"        \tTest:       \tTestC\n"}`,
		`{"Action":"fail","Test":"TestC"}`,
		`{"Action":"run","Test":"TestD"}`,
		`{"Action":"pass","Test":"TestD"}`,
		`{"Action":"run","Test":"TestE"}`,
	}, "\n")))
	want := []Result{
		{"TestA", Failed, ""},
		{"TestA/sub", Failed, "task … did not end"},
		{"TestB", Skipped, "no criu"},
		{"TestC", Failed, "Received unexpected error: refused"},
		{"TestD", Passed, ""},
		{"TestE", Unended, ""},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func TestReadJUnit(t *testing.T) {
	got, err := readJUnit([]byte(`<testsuites><testsuite>
		<testcase name="[BeforeSuite]" status="passed"></testcase>
		<testcase name="[It] runs" status="passed"></testcase>
		<testcase name="[It] stops" status="failed"><failure message="it   did not">trace</failure></testcase>
		<testcase name="[It] labels" status="skipped"><skipped message="no SELinux"></skipped></testcase>
		<testcase name="[It] hangs" status="timedout"><failure message="late"></failure></testcase>
	</testsuite></testsuites>`))
	want := []Result{{"runs", Passed, ""}, {"stops", Failed, "it did not"}, {"labels", Skipped, "no SELinux"}, {"hangs", Failed, "late"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func TestReadTAP(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []Result
	}{
		"assertions": {
			"TAP version 13\nok 1 - one\nnot ok 2 - two\n  ---\n  error: 'no'\n  ...\nok 3 - one\nok 4 # SKIP no cgroup\n1..4\n",
			[]Result{{"v", Failed, ""}, {"v/one", Passed, ""}, {"v/two", Failed, "no"}, {"v/one (2)", Passed, ""}, {"v/", Skipped, "no cgroup"}},
		},
		"skipped": {"TAP version 13\nok 1 - x # SKIP not here\n1..1\n", []Result{{"v", Skipped, "not here"}, {"v/x", Skipped, "not here"}}},
		"died":    {"TAP version 13\ncannot start\n\n" + ended + "exit status 1\n", []Result{{"v", Failed, "cannot start"}}},
		"killed":  {"ok 1 - x\n" + ended + "signal: terminated\n", []Result{{"v", Unended, ""}, {"v/x", Passed, ""}}},
		"refused": {"cannot start\ntime=\"now\" level=error msg=\"no: 7\"\nexit status 1\n" + ended + "exit status 1\n", []Result{{"v", Failed, "no: 7"}}},
		"silent":  {"TAP version 13\n1..0\n", []Result{{"v", Passed, "it ended well, and asserted nothing"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readTAP("v", strings.NewReader(test.text))
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}
