package shim

import (
	"context"

	"github.com/containerd/ttrpc"
)

// taskV2 is containerd 1.x's name for the task service. Version 3 has the same messages as version
// 2, field for field, so each method serves both.
const taskV2 = "containerd.task.v2.Task"

func (s *service) registerV2(server *ttrpc.Server) {
	server.RegisterService(taskV2, &ttrpc.ServiceDesc{Methods: s.methodsV2()})
}

func (s *service) methodsV2() map[string]ttrpc.Method {
	return map[string]ttrpc.Method{
		"State":      method(s.State),
		"Create":     method(s.Create),
		"Start":      method(s.Start),
		"Delete":     method(s.Delete),
		"Pids":       method(s.Pids),
		"Pause":      method(s.Pause),
		"Resume":     method(s.Resume),
		"Checkpoint": method(s.Checkpoint),
		"Kill":       method(s.Kill),
		"Exec":       method(s.Exec),
		"ResizePty":  method(s.ResizePty),
		"CloseIO":    method(s.CloseIO),
		"Update":     method(s.Update),
		"Wait":       method(s.Wait),
		"Stats":      method(s.Stats),
		"Connect":    method(s.Connect),
		"Shutdown":   method(s.Shutdown),
	}
}

// method adapts a method of the task service to ttrpc.
func method[Request, Response any](call func(context.Context, *Request) (*Response, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		request := new(Request)
		if err := unmarshal(request); err != nil {
			return nil, err
		}
		return call(ctx, request)
	}
}
