package shim

import (
	"slices"
	"strings"
	"testing"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The messages of both versions must be the same on the wire: methodsV2 relies on it.
func TestTaskV2Messages(t *testing.T) {
	older, newer := taskv2.File_runtime_task_v2_shim_proto.Messages(), task.File_runtime_task_v3_shim_proto.Messages()
	if older.Len() != newer.Len() {
		t.Fatalf("version 2 has %d messages, version 3 has %d", older.Len(), newer.Len())
	}
	for i := range older.Len() {
		name := older.Get(i).Name()
		other := newer.ByName(name)
		if other == nil {
			t.Errorf("version 3 has no %s", name)
			continue
		}
		was, is := fields(older.Get(i)), fields(other)
		if !slices.Equal(was, is) {
			t.Errorf("%s\nin version 2: %v\nin version 3: %v", name, was, is)
		}
	}
}

// A method that a later task service adds must not be forgotten.
func TestTaskV2Methods(t *testing.T) {
	have := (&service{TTRPCTaskService: &fakeTasks{}}).methodsV2()
	want := taskv2.File_runtime_task_v2_shim_proto.Services().ByName("Task").Methods()
	if len(have) != want.Len() {
		t.Errorf("%d methods, want %d", len(have), want.Len())
	}
	for i := range want.Len() {
		if have[string(want.Get(i).Name())] == nil {
			t.Errorf("no %s", want.Get(i).Name())
		}
	}
}

// field is what determines a message field's encoding on the wire.
type field struct {
	number, kind, label int32
	of                  string
}

func fields(message protoreflect.MessageDescriptor) []field {
	var all []field
	for _, f := range protodesc.ToDescriptorProto(message).GetField() {
		of := strings.Replace(f.GetTypeName(), ".task.v2.", ".task.v3.", 1)
		all = append(all, field{f.GetNumber(), int32(f.GetType()), int32(f.GetLabel()), of})
	}
	return all
}
