"""The built-in data set: 5,000 train and 1,000 test images of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017; MIT)."""
