"""What does a mask mean? Its values, colors and palette become class ids, or leave a doubt."""
