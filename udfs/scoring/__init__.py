"""Models as data: files of linear models, trees and networks read into arrays for kernels."""
