//go:build !linux

package budget

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
