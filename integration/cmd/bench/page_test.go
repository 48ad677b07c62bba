package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritePage(t *testing.T) {
	results := []table{{Title: "A title", Unit: "ms", Rows: []row{
		newRow("one", []string{"stock", "ours"}, []float64{1, 1.10}, [][]float64{{10, 10, 10}, {10, 11, 13}}),
		newRow("two", []string{"stock", "ours"}, []float64{1, 1.05}, [][]float64{{10, 10, 10}, {10, 12, 13}}),
		{Name: "three", Columns: []column{{Arrangement: "alone", Median: 7}}},
	}}}
	path := filepath.Join(t.TempDir(), "page.md")
	if err := writePage(path, "Linux 6.1", 3, results); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"run: Linux 6.1.", "over 3 rounds (create to exit: 30, pods: 1)", "\n## A title\n\n| ms | stock | ours |\n|---|---:|---:|\n| one | 10 | 11, **1.100x** (1.050–1.200), budget 1.10 |\n",
		"| two | 10 | 12, **1.200x** (1.100–1.250), above its budget of 1.05 |\n\n| ms | alone |\n|---|---:|\n| three | 7 |\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestVersion(t *testing.T) {
	for said, want := range map[string]string{
		"containerd github.com/containerd/containerd/v2 v2.4.2+unknown ": "2.4.2",
		"runc version 1.5.2\nspec: 1.3.0\n":                              "1.5.2",
		"none":                                                           "of an unknown version",
	} {
		if got := version(said); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
}
