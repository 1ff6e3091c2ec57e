// Command open-volumes lets everybody write to the volumes that the controller manager's host-path provisioner makes below
// a directory. It makes each one for root alone, and Kubernetes sets no group on such volumes, so that a step that isn't
// root could not write to its workspace.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("open-volumes: ")
	if len(os.Args) != 2 {
		log.Fatal("one argument is needed: the directory that holds the volumes")
	}
	directory := os.Args[1]
	check(os.MkdirAll(directory, 0o755))
	watcher, err := fsnotify.NewWatcher()
	check(err)
	check(watcher.Add(directory))
	// After the watch began, so that none falls between.
	entries, err := os.ReadDir(directory)
	check(err)
	for _, entry := range entries {
		open(filepath.Join(directory, entry.Name()))
	}
	for event := range watcher.Events {
		if event.Has(fsnotify.Create) {
			open(event.Name)
		}
	}
}

func open(volume string) {
	// It may be gone again; then there is nobody who could miss it.
	if err := os.Chmod(volume, 0o777); err != nil && !os.IsNotExist(err) {
		log.Print(err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
