package peers

import (
	"slices"
	"strings"
	"testing"
)

func compared() Comparison {
	c := Comparison{Suite: "client"}
	c.Add(map[Runtime][]Result{
		Runc: {
			{"TestBoth", Passed, ""},
			{"TestBoth/a", Passed, ""},
			{"TestBroken", Passed, ""},
			{"TestNoCriu", Skipped, "no criu"},
			{"TestParts", Passed, ""},
			{"TestParts/a", Passed, ""},
			{"TestFlaky", Failed, "late"},
			{"TestNeither", Failed, "no | network"},
		},
		Shimward: {
			{"TestBoth", Passed, ""},
			{"TestBoth/a", Passed, ""},
			{"TestBroken", Failed, "why"},
			{"TestNoCriu", Skipped, "no criu"},
			{"TestParts", Failed, ""},
			{"TestParts/a", Unended, ""},
			{"TestFlaky", Passed, ""},
			{"TestNeither", Failed, "no | network"},
		},
	})
	c.Add(map[Runtime][]Result{
		Runc:     {{"TestFlaky", Passed, ""}, {"TestBroken", Passed, ""}, {"TestBoth", Skipped, "not asked for"}},
		Shimward: {{"TestFlaky", Passed, ""}, {"TestBroken", Failed, "why"}, {"TestParts", Passed, ""}, {"TestParts/a", Passed, ""}},
	}, "TestFlaky", "TestBroken", "TestParts")
	return c
}

func TestDoubtful(t *testing.T) {
	c := compared()
	if got, want := c.Doubtful(), []string{"TestBroken", "TestNeither"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.Regressions(), []string{"TestBroken"}; !slices.Equal(got, want) {
		t.Errorf("regressions: got %q, want %q", got, want)
	}
}

// What runc passes is a regression, too, where shimward's suite ended before it.
func TestNotRunIsARegression(t *testing.T) {
	c := Comparison{Suite: "cri"}
	c.Add(map[Runtime][]Result{Runc: {{"TestA", Passed, ""}, {"TestB", Passed, ""}}, Shimward: {{"TestA", Passed, ""}}})
	if got, want := c.Regressions(), []string{"TestB"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPage(t *testing.T) {
	var page strings.Builder
	if err := Page(&page, Facts{Kernel: "6.1", Tier: "lsm", Versions: map[string]string{"runc": "1.5.2"}}, []Comparison{compared()}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Linux 6.1 (`lsm` tier), runc 1.5.2.",
		"| containerd's client integration suite | 8 | 6 | 5 | 1 |",
		"| `TestBoth`, subtests: 1 passed | passes | passes |",
		"| `TestBroken` | passes | fails: why |",
		"| `TestNoCriu` | skipped: no criu | skipped |",
		"| `TestParts/a` | passes | does not end, then alone passes |",
		"| `TestFlaky` | fails, then alone passes: late | passes |",
		`| ` + "`TestNeither`" + ` | fails: no \| network | fails |`,
	} {
		if !strings.Contains(page.String(), want+"\n") {
			t.Errorf("the page lacks %q:\n%s", want, page.String())
		}
	}
}

// After a repair, what did not pass at once is a new try, and the rest is kept.
func TestForget(t *testing.T) {
	c := compared()
	unsettled := c.Unsettled()
	if want := []string{"TestBroken", "TestParts", "TestFlaky", "TestNeither"}; !slices.Equal(unsettled, want) {
		t.Fatalf("unsettled: got %q, want %q", unsettled, want)
	}
	c.Forget(unsettled)
	mended := []Result{{"TestBroken", Passed, ""}, {"TestParts", Passed, ""}, {"TestParts/a", Passed, ""}, {"TestFlaky", Passed, ""}, {"TestNeither", Failed, ""}}
	c.Add(map[Runtime][]Result{Runc: mended, Shimward: mended}, unsettled...)
	if got, want := c.Unsettled(), []string{"TestNeither"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(c.Rows) != 8 || len(c.Regressions()) != 0 {
		t.Errorf("got %d rows, regressions %q", len(c.Rows), c.Regressions())
	}
}
