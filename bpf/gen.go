package bpf

//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -target amd64,arm64 -tags linux -type record -type process -type ancestor -type container -type state -type guard -type rule -type rule_asks -type purpose -type executable -type grant -type learned_node -type learned_file -type learned_table -type tally -type trial -type traffic -type flow -type direction -type symbol -type action -type scope -type vector -type operation -type relation -type verdict -type sensor -type record_flag -type bond kernel shimward.bpf.c -- -O2 -Wall -Werror -mcpu=v3 -I. -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
//go:generate go run digest_gen.go
