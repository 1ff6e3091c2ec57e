// Command image writes a container image for this machine's platform without a container engine, as an archive that `ctr
// images import` takes: one layer, with the files that are given and the directories that they need.
//
//	image -out FILE [-entrypoint PATH] [-cmd WORD] [-user UID:GID] [-port PORT/tcp] [-busybox PATH] [-file FROM=TO]… TAG…
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
)

type files []string

func (f *files) String() string     { return strings.Join(*f, " ") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

func main() {
	log.SetFlags(0)
	log.SetPrefix("image: ")
	out := flag.String("out", "", "the archive to write")
	entrypoint := flag.String("entrypoint", "", "the program that a container runs")
	cmd := flag.String("cmd", "", "the command of a container that is given none")
	user := flag.String("user", "", "whom a container runs as")
	port := flag.String("port", "", "the port that a container listens on, as 80/tcp")
	busybox := flag.String("busybox", "", "a static busybox: its commands become links in /bin, beside what a Linux system needs")
	var given files
	flag.Var(&given, "file", "a file of this machine and its path in the image; can be given again")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		log.Fatal("an archive (-out) and at least one tag are needed")
	}

	layer := newLayer()
	if *busybox != "" {
		layer.system(*busybox)
	}
	for _, file := range given {
		from, to, found := strings.Cut(file, "=")
		if !found {
			log.Fatalf("-file %s: it has to be FROM=TO", file)
		}
		layer.copy(from, to)
	}

	config := map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	if *entrypoint != "" {
		config["Entrypoint"] = []string{*entrypoint}
	}
	if *cmd != "" {
		config["Cmd"] = []string{*cmd}
	}
	if *user != "" {
		config["User"] = *user
	}
	if *port != "" {
		config["ExposedPorts"] = map[string]any{*port: map[string]any{}}
	}
	check(os.WriteFile(*out, archive(layer.done(), config, flag.Args()), 0o644))
}

// archive is the format of `docker save`: a manifest that names a configuration and the layers, each by its digest.
func archive(layer []byte, config map[string]any, tags []string) []byte {
	digest := fmt.Sprintf("%x", sha256.Sum256(layer))
	description := encode(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      "1970-01-01T00:00:00Z",
		"config":       config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	name := fmt.Sprintf("%x.json", sha256.Sum256(description))
	manifest := encode([]any{map[string]any{"Config": name, "RepoTags": tags, "Layers": []string{digest + "/layer.tar"}}})

	whole := newLayer()
	whole.file(name, description, 0o644)
	whole.file(digest+"/layer.tar", layer, 0o644)
	whole.file("manifest.json", manifest, 0o644)
	return whole.done()
}

type layer struct {
	buffer bytes.Buffer
	tar    *tar.Writer
	known  map[string]bool
}

func newLayer() *layer {
	l := &layer{known: map[string]bool{"": true, ".": true, "/": true}}
	l.tar = tar.NewWriter(&l.buffer)
	return l
}

func (l *layer) done() []byte {
	check(l.tar.Close())
	return l.buffer.Bytes()
}

func (l *layer) directory(name string, mode int64) {
	name = strings.Trim(name, "/")
	if l.known[name] {
		return
	}
	l.directory(path.Dir(name), 0o755)
	l.known[name] = true
	check(l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}))
}

func (l *layer) file(name string, data []byte, mode int64) {
	name = strings.Trim(name, "/")
	l.directory(path.Dir(name), 0o755)
	check(l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}))
	_, err := l.tar.Write(data)
	check(err)
}

func (l *layer) link(name, target string) {
	l.directory(path.Dir(name), 0o755)
	check(l.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}))
}

func (l *layer) copy(from, to string) {
	about, err := os.Stat(from)
	check(err)
	data, err := os.ReadFile(from)
	check(err)
	mode := int64(0o644)
	if about.Mode()&0o111 != 0 {
		mode = 0o755
	}
	l.file(to, data, mode)
}

// system is what a step's image is expected to have: a shell and its friends, users, and the usual directories.
func (l *layer) system(busybox string) {
	l.directory("root", 0o700)
	l.directory("tmp", 0o1777)
	for _, name := range []string{"dev", "home", "proc", "sys", "usr/bin", "usr/local/bin", "var"} {
		l.directory(name, 0o755)
	}
	l.copy(busybox, "bin/busybox")
	names, err := exec.Command(busybox, "--list").Output()
	check(err)
	for _, name := range strings.Fields(string(names)) {
		if name != "busybox" {
			l.link("bin/"+name, "busybox")
		}
	}
	l.link("usr/bin/env", "/bin/busybox")
	l.file("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"), 0o644)
	l.file("etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"), 0o644)
}

func encode(value any) []byte {
	data, err := json.Marshal(value)
	check(err)
	return data
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
