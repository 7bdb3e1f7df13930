// Package images pins the images that others make. deploy/images.env names them; [Update] adds the
// digest that a registry has for each tag, and [Spread] copies them to the files that use them.
package images
