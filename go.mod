module github.com/ctwhy/ctwhy

go 1.25.0

require golang.org/x/sys v0.43.0 // indirect
