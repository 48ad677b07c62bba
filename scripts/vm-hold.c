// SPDX-License-Identifier: Apache-2.0
//
// Keeps a perf event open as long as the VM runs, from before its second CPU is started.
// When the first perf event on a kernel is opened and when the last one is closed, the
// kernel patches instructions of the scheduler that all CPUs execute. QEMU's emulated CPUs
// do not always handle that (an int3 is reported in the middle of a jump), and the VM
// crashes. With this event open, a test that profiles does not cause any patching.

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
	};

	int ready[2];
	char byte;

	if (pipe(ready))
		return 1;
	if (fork())
		return close(ready[1]) || read(ready[0], &byte, 1) != 1;
	if (syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0) < 0 || write(ready[1], "", 1) != 1)
		return 1;
	for (;;)
		pause();
}
